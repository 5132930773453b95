import { describe, expect, test } from "vitest";
import { Backoff, DEFAULT_BACKOFF } from "../../../src/mqtt/backoff.ts";

const options = { minMs: 1_000, maxMs: 60_000, resetAfterMs: 60_000, quickReturns: 3, quickReturnMs: 3_000 };
const ceilings = (backoff: Backoff, count: number) => Array.from({ length: count }, () => backoff.next());

describe("Backoff", () => {
  test("doubles the ceiling from 1 s up to 60 s", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    expect(ceilings(backoff, 8)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  });

  test("waits anything between nothing and the ceiling", () => {
    expect(ceilings(new Backoff({ ...options, random: () => 0 }), 3)).toEqual([0, 0, 0]);
    expect(ceilings(new Backoff({ ...options, random: () => 0.25 }), 3)).toEqual([250, 500, 1_000]);
  });

  test("begins again after a connection that was ready, so that a broker restarted twice is not waited for", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    ceilings(backoff, 3);
    backoff.ended(100, 0);
    expect(ceilings(backoff, 2)).toEqual([1_000, 2_000]);
    backoff.ended(100, 1_000);
    expect(backoff.next()).toBe(1_000);
  });

  test("goes on doubling when connections fall more often than the quick returns allow", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    const waits = Array.from({ length: 7 }, () => {
      backoff.ended(100, 0);
      return backoff.next();
    });
    expect(waits).toEqual([1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 16_000]);
    // One quick return is earned every three seconds; a connection that has held needs none.
    backoff.ended(100, 3_000);
    expect(backoff.next()).toBe(1_000);
    backoff.ended(59_999, 3_000);
    expect(backoff.next()).toBe(2_000);
    backoff.ended(60_000, 3_000);
    expect(backoff.next()).toBe(1_000);
  });

  test("by default leaves a broker that comes back after a long outage half the boards within 5 s", () => {
    let seed = 1;
    // The wait that is left when the broker comes back, at any moment of an outage: lcg numbers, so that it repeats.
    const random = () => (seed = (seed * 48_271) % 0x7fffffff) / 0x7fffffff;
    const left = Array.from({ length: 2_001 }, () => {
      const backoff = new Backoff({ ...DEFAULT_BACKOFF, random });
      const backMs = 300_000 + random() * 60_000;
      let atMs = 0;
      while (atMs < backMs) atMs += backoff.next();
      return atMs - backMs;
    }).sort((a, b) => a - b);
    expect(left[1_000]).toBeLessThan(5_000);
    expect(left.at(-1)).toBeLessThan(15_000);
  });

  test("stays finite after a year of failures", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    expect(ceilings(backoff, 5_000).at(-1)).toBe(60_000);
  });
});
