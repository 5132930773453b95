import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Buckets, openFault, Rates } from "../../../src/core/limits.ts";
import type { Question } from "../../../src/core/request.ts";
import type { Route } from "../../../src/core/route.ts";
import { questionOf, routeOf } from "../../fixtures/questions.ts";

const NONE = { questionsPerMinute: 0, tokensPerMinute: 0, openQuestions: 0 };
const senders = (more: Partial<Route["senderLimits"]>) => routeOf({ senderLimits: { ...NONE, openBytes: 0, ...more } });
const routes = (more: Partial<Route["limits"]>) => routeOf({ limits: { ...NONE, ...more } });
const from = (sender: string, route: Route): Question => questionOf({ text: "a", reply_to: sender }, { route });

/** How many of `count` questions at one moment are within the rates. */
function taken(rates: Rates, question: Question, count: number, nowMs: number, tokens = 1): number {
  let within = 0;
  for (let index = 0; index < count; index++) {
    if (rates.fault(question, tokens, nowMs)) continue;
    rates.spend(question, 1, tokens, nowMs);
    within += 1;
  }
  return within;
}

describe("the questions a minute of a sender", () => {
  const anna = from("anna", senders({ questionsPerMinute: 7 }));

  test("may come all at once, and then as time goes by", () => {
    const rates = new Rates();
    expect(taken(rates, anna, 20, 0)).toBe(7);
    expect(taken(rates, anna, 20, 8571)).toBe(0);
    expect(taken(rates, anna, 20, 8572)).toBe(1);
    expect(taken(rates, anna, 20, 10 * 60_000)).toBe(7);
  });

  test("are refused with the time after which the next one is taken", () => {
    const rates = new Rates();
    taken(rates, anna, 7, 0);
    const refusal = rates.fault(anna, 1, 1000);
    expect(refusal).toMatchObject({
      code: "rate_limited",
      message: "over the limit of 7 questions a minute for each sender of route ask; try again in 7.6 s",
      retryAfterMs: 7572,
    });
    expect(rates.fault(anna, 1, 1000 + (refusal?.retryAfterMs ?? 0))).toBeUndefined();
  });

  test("are counted for each sender and each route apart", () => {
    const rates = new Rates();
    taken(rates, anna, 7, 0);
    expect(taken(rates, from("bob", anna.route), 9, 0)).toBe(7);
    expect(taken(rates, from("anna", { ...anna.route, name: "other" }), 9, 0)).toBe(7);
  });

  test("never exceed the limit within any minute by more than what a minute brings", () => {
    const arrivals = fc.array(fc.nat(20_000), { maxLength: 60 });
    fc.assert(
      fc.property(arrivals, (gaps) => {
        const rates = new Rates();
        const times: number[] = [];
        let nowMs = 0;
        for (const gap of gaps) {
          nowMs += gap;
          if (taken(rates, anna, 1, nowMs) === 1) times.push(nowMs);
        }
        for (const start of times)
          expect(times.filter((at) => at >= start && at < start + 60_000).length).toBeLessThanOrEqual(14);
        expect(times.length).toBeLessThanOrEqual(7 + Math.ceil((7 * nowMs) / 60_000));
      }),
    );
  });
});

describe("the tokens a minute", () => {
  test("are charged when a question comes in and corrected when its answer is known", () => {
    const rates = new Rates();
    const question = from("anna", senders({ tokensPerMinute: 600 }));
    expect(taken(rates, question, 9, 0, 200)).toBe(3);
    expect(rates.fault(question, 200, 0)?.message).toMatch(/^over the limit of 600 tokens a minute for each sender/);
    rates.spend(question, 0, -150, 0);
    expect(rates.fault(question, 150, 0)).toBeUndefined();
    rates.spend(question, 0, 1050, 0);
    // 1500 tokens in debt of 600: what is over takes 90 s, then 200 more have to come in.
    expect(rates.fault(question, 200, 0)?.retryAfterMs).toBe(110_000);
  });

  test("let a question that is larger than the limit pass when nothing was asked for a minute", () => {
    const rates = new Rates();
    const question = from("anna", senders({ tokensPerMinute: 100 }));
    expect(taken(rates, question, 2, 0, 250)).toBe(1);
    expect(taken(rates, question, 2, 149_999, 250)).toBe(0);
    expect(taken(rates, question, 2, 150_001, 250)).toBe(1);
  });
});

describe("the limits of a route", () => {
  test("hold for all its senders together", () => {
    const rates = new Rates();
    const route = routes({ questionsPerMinute: 3 });
    expect(["a", "b", "c", "d"].map((sender) => taken(rates, from(sender, route), 1, 0))).toEqual([1, 1, 1, 0]);
    expect(rates.fault(from("d", route), 1, 0)?.message).toMatch(
      /^over the limit of 3 questions a minute for route ask;/,
    );
  });
});

describe("open questions", () => {
  const bob = (route: Route, count: number) => Array.from({ length: count }, () => from("bob", route));

  test.each<[what: string, route: Route, open: (route: Route) => Question[], message: RegExp | undefined]>([
    [
      "as many as a sender may have",
      senders({ openQuestions: 2 }),
      (route) => bob(route, 2),
      /^over the limit of 2 open questions for each/,
    ],
    ["fewer than a sender may have", senders({ openQuestions: 3 }), (route) => bob(route, 2), undefined],
    ["of others", senders({ openQuestions: 1 }), (route) => [from("anna", route)], undefined],
    ["of another route", senders({ openQuestions: 1 }), (route) => bob({ ...route, name: "other" }, 1), undefined],
    [
      "of more bytes than a sender may have",
      senders({ openBytes: 64 }),
      (route) => bob(route, 2),
      /^over the limit of 64 bytes/,
    ],
    [
      "as many as the route may have",
      routes({ openQuestions: 1 }),
      (route) => [from("anna", route)],
      /1 open questions for route ask/,
    ],
  ])("%s", (_, route, open, message) => {
    const fault = openFault(from("bob", route), open(route), 2500);
    if (message)
      expect(fault).toMatchObject({
        code: "rate_limited",
        retryAfterMs: 2500,
        message: expect.stringMatching(message) as string,
      });
    else expect(fault).toBeUndefined();
  });
});

test("the memory of senders is bounded, and what is asked lately is remembered", () => {
  const buckets = new Buckets();
  for (let index = 0; index < 20_000; index++) {
    buckets.spend("regular", 1, 60, index);
    buckets.spend(`sender ${index}`, 1, 60, index);
  }
  expect(buckets.size).toBe(4096);
  expect(buckets.waitMs("regular", 1, 60, 20_000)).toBeGreaterThan(60_000);
});
