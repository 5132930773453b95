import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Admission, admissionFault, expectedStartMs } from "../../../src/core/admission.ts";
import { QuestionQueue } from "../../../src/core/question-queue.ts";
import type { Question } from "../../../src/core/request.ts";
import { questionOf } from "../../fixtures/questions.ts";

const BOUNDS = { maxQuestions: 8, maxBytes: 10_000, maxWaitMs: 60_000 };
const calm: Admission = {
  bounds: BOUNDS,
  waiting: [],
  running: [],
  concurrency: 1,
  nowMs: 0,
  // The text of a question says how many seconds it takes.
  estimateMs: ({ text }) => Number(text) * 1000,
};

function asked(seconds: number, more: { sender?: string; priority?: number; deadlineMs?: number } = {}): Question {
  const { sender = "me", priority = 5, deadlineMs = 60_000 } = more;
  const fields = { text: `${seconds}`, priority, reply_to: sender, deadline_ms: deadlineMs };
  return questionOf(fields, { message: { arrivedMs: 0 } });
}

const line = (count: number, sender: string, seconds = 0) =>
  Array.from({ length: count }, () => asked(seconds, { sender }));
const fault = (question: Question, more: Partial<Admission> = {}) => admissionFault(question, { ...calm, ...more });

describe("a question is taken", () => {
  test.each<[what: string, question: Question, more: Partial<Admission>]>([
    ["at rest", asked(1), {}],
    ["when it is just in time", asked(4, { deadlineMs: 10_000 }), { waiting: [asked(6, { sender: "other" })] }],
    [
      "while nothing is known of the speed",
      asked(0),
      { waiting: line(3, "other"), running: [{ question: asked(0), begunMs: 0 }] },
    ],
    [
      "beside a running one when two are worked on",
      asked(9, { deadlineMs: 10_000 }),
      { concurrency: 2, running: [{ question: asked(50), begunMs: 0 }] },
    ],
    [
      "when the running one is nearly done",
      asked(1, { deadlineMs: 3000 }),
      { nowMs: 0, running: [{ question: asked(50), begunMs: -49_000 }] },
    ],
    ["from somebody new although one sender has filled his part of the line", asked(1), { waiting: line(6, "flood") }],
    [
      "into the last place, from somebody who has none",
      asked(1),
      { waiting: [...line(6, "flood"), ...line(1, "other")] },
    ],
  ])("%s", (_, question, more) => {
    expect(fault(question, more)).toBeUndefined();
  });
});

describe("a question is refused as busy", () => {
  test.each<[what: string, question: Question, more: Partial<Admission>, message: string, retryAfterMs: number]>([
    [
      "by a full line",
      asked(1),
      { waiting: line(8, "other", 1) },
      "8 questions are waiting, the limit is 8; try again in about 1.0 s",
      1000,
    ],
    [
      "by a line that is full of unknown length",
      asked(0),
      { waiting: line(8, "other") },
      "8 questions are waiting, the limit is 8; try again in about 0.0 s",
      100,
    ],
    [
      "by a line that holds too many bytes",
      asked(1),
      { bounds: { ...BOUNDS, maxBytes: 100 }, waiting: line(1, "other", 1) },
      expect.stringMatching(/^the waiting questions would have \d+ bytes, the limit is 100; /) as string,
      1000,
    ],
    [
      "when its sender has three waiting for each free place",
      asked(1, { sender: "flood" }),
      { waiting: line(6, "flood", 1) },
      "6 questions of this sender are waiting, the other 2 of 8 places are kept for others; try again in about 6.0 s",
      6000,
    ],
    [
      "when it would be late",
      asked(4, { deadlineMs: 9000 }),
      { waiting: [asked(3, { sender: "other" })], running: [{ question: asked(4), begunMs: -1000 }] },
      "an answer would take about 10.0 s, the deadline is in 9.0 s",
      6000,
    ],
    [
      "when the wait would be longer than anybody shall wait",
      asked(1, { deadlineMs: 50_000 }),
      { bounds: { ...BOUNDS, maxWaitMs: 2000 }, waiting: [asked(5, { sender: "other" })] },
      "work on it would begin in about 5.0 s, the limit is 2.0 s",
      3000,
    ],
    [
      "when its time is up",
      asked(1, { deadlineMs: 100 }),
      { nowMs: 105 },
      "an answer would take about 1.0 s, the deadline is in 0.0 s",
      0,
    ],
  ])("%s", (_, question, more, message, retryAfterMs) => {
    expect(fault(question, more)).toMatchObject({ code: "busy", message, retryAfterMs });
  });
});

describe("the expected wait", () => {
  const running = [{ question: asked(2), begunMs: 0 }];
  const wait = (question: Question, waiting: Question[], more: Partial<Admission> = {}) =>
    expectedStartMs(question, { ...calm, running, waiting, ...more });

  test("counts one turn of each other sender, not the whole crowd that one of them has asked", () => {
    expect(wait(asked(1), [...line(20, "flood", 1), ...line(1, "other", 1)])).toBe(2000 + 1000 + 1000);
  });

  test("counts all of one's own and as many turns of the others", () => {
    expect(wait(asked(1), [...line(3, "me", 1), ...line(20, "flood", 1)])).toBe(2000 + 3000 + 4000);
  });

  test("counts of higher priority what can be done until the question has aged as far, and then one turn", () => {
    const flood = Array.from({ length: 48 }, () => asked(1, { sender: "flood", priority: 9 }));
    // Four steps of a twentieth of 30 s.
    expect(wait(asked(1, { deadlineMs: 30_000 }), flood)).toBe(2000 + 6000 + 1000);
    expect(wait(asked(1, { deadlineMs: 30_000, priority: 9 }), flood)).toBe(2000 + 1000);
  });

  test("counts everything of higher priority where that is less, and nothing of lower", () => {
    const high = asked(7, { sender: "a", priority: 6 });
    const low = asked(9, { sender: "b", priority: 4 });
    expect(wait(asked(1), [high, high, low])).toBe(2000 + 14_000);
  });

  test("is shared by those that are worked on side by side", () => {
    expect(wait(asked(1), [asked(4, { sender: "a" })], { concurrency: 2 })).toBe(3000);
  });

  // Of one priority: lower ones that age meanwhile may come before it, which nobody can foresee.
  test("is never shorter than the line really takes, whoever asked and whoever had a turn before", () => {
    const question = fc.record({ seconds: fc.nat(9), sender: fc.constantFrom("a", "b", "c") });
    fc.assert(
      fc.property(fc.array(question), question, fc.array(fc.constantFrom("a", "b", "c")), (others, own, before) => {
        const queue = new QuestionQueue(100);
        for (const sender of before) {
          queue.push(asked(0, { sender }));
          queue.take(0);
        }
        const waiting = others.map((other) => asked(other.seconds, other));
        const mine = asked(own.seconds, own);
        const expectedMs = expectedStartMs(mine, { ...calm, waiting });
        for (const each of [...waiting, mine]) queue.push(each);
        let nowMs = 0;
        for (let next = queue.take(nowMs); next !== undefined && next !== mine; next = queue.take(nowMs)) {
          nowMs += calm.estimateMs(next);
        }
        expect(nowMs).toBeLessThanOrEqual(expectedMs);
      }),
    );
  });

  test("is never longer than everything that is there, and never negative", () => {
    const question = fc.record({ seconds: fc.nat(9), sender: fc.constantFrom("a", "b", "c"), priority: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(question), question, fc.nat(100_000), (others, own, nowMs) => {
        const waiting = others.map((other) => asked(other.seconds, other));
        const ms = wait(asked(own.seconds, own), waiting, { nowMs });
        const all = others.reduce((sum, { seconds }) => sum + seconds * 1000, 2000);
        expect(ms).toBeGreaterThanOrEqual(0);
        expect(ms).toBeLessThanOrEqual(all);
      }),
    );
  });
});
