// What holds in every run, and the times that several of them show.
import { expect } from "vitest";
import { quantile } from "../bench/bench.ts";
import type { Figures } from "../fixtures/figures.ts";
import type { Tally } from "./ledger.ts";

/** Every question has one final reply, `ok` but for so many that were `failed` and those refused with one of `refusals`. */
export function expectNothingLost(tally: Tally, mostFailed = 0, refusals: readonly string[] = []): void {
  expect(tally.lost).toEqual([]);
  expect(tally.doubled).toEqual([]);
  expect(tally.strange).toBe(0);
  const { ok = 0, failed = 0, ...others } = tally.byStatus;
  const refused = Object.entries(others).filter(([status]) => refusals.includes(status));
  expect(others).toEqual(Object.fromEntries(refused));
  expect(failed).toBeLessThanOrEqual(mostFailed);
  expect(refused.reduce((sum, [, count]) => sum + count, ok + failed)).toBe(tally.asked);
}

export function times(what: string, valuesMs: readonly number[]): Figures {
  return {
    [`${what}, median ms`]: Math.round(quantile(valuesMs, 0.5)),
    [`${what}, worst ms`]: Math.round(Math.max(...valuesMs)),
  };
}
