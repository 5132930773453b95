import { describe, expect, test } from "vitest";
import type { IncomingMessage } from "../../../src/core/message.ts";
import { Subscriptions } from "../../../src/mqtt/subscriptions.ts";

const message = (topic: string, subscriptionIds?: number[]): IncomingMessage => ({
  topic,
  payload: new Uint8Array(),
  retained: false,
  duplicate: false,
  arrivedMs: 0,
  ...(subscriptionIds && { subscriptionIds }),
});

const FILTERS = ["home/+/ask", "home/#", "+/kitchen/ask", "$share/g/home/#"];

describe("subscriptions that overlap", () => {
  const subscriptions = new Subscriptions(FILTERS);
  const [first = 0, second = 0, third = 0, shared = 0] = FILTERS.map(
    (filter) => subscriptions.identifiers?.(filter) ?? 0,
  );

  test("have numbers that MQTT allows, the same after any change of the others", () => {
    for (const id of [first, second, third]) expect(id > 0 && id <= 268_435_455 && Number.isInteger(id)).toBe(true);
    expect(new Set([first, second, third]).size).toBe(3);
    expect(new Subscriptions(["home/#", "home/x"]).identifiers?.("home/#")).toBe(second);
  });

  test("have one copy that counts, whichever comes first", () => {
    const copies = [third, second, first].map((id) => subscriptions.isCopy(message("home/kitchen/ask", [id])));
    expect(copies).toEqual([true, true, false]);
    expect(subscriptions.isCopy(message("home/kitchen/light", [second]))).toBe(false);
  });

  test("may be merged into one copy by the broker", () => {
    expect(subscriptions.isCopy(message("home/kitchen/ask", [third, first, second]))).toBe(false);
  });

  test("lose nothing for a copy without a number, with a number of another time, or of a shared subscription", () => {
    expect(subscriptions.isCopy(message("home/kitchen/ask"))).toBe(false);
    expect(subscriptions.isCopy(message("home/kitchen/ask", [first + second]))).toBe(false);
    expect(subscriptions.isCopy(message("home/kitchen/ask", [shared]))).toBe(false);
  });

  test("count from the first that the broker has granted", () => {
    const some = new Subscriptions(FILTERS);
    some.grant(["home/#", "+/kitchen/ask"]);
    expect(some.isCopy(message("home/kitchen/ask", [second]))).toBe(false);
    expect(some.isCopy(message("home/kitchen/ask", [third]))).toBe(true);
  });
});

test("subscriptions that do not overlap need no numbers", () => {
  expect(new Subscriptions(["a/+", "b/+", "$share/g/a/+"]).identifiers).toBeUndefined();
});
