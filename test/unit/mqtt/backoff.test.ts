import { describe, expect, test } from "vitest";
import { Backoff } from "../../../src/mqtt/backoff.ts";

const options = { minMs: 1_000, maxMs: 60_000, resetAfterMs: 60_000 };
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

  test("begins again only after a connection that has held", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    ceilings(backoff, 3);
    backoff.ended(59_999);
    expect(backoff.next()).toBe(8_000);
    backoff.ended(60_000);
    expect(backoff.next()).toBe(1_000);
  });

  test("stays finite after a year of failures", () => {
    const backoff = new Backoff({ ...options, random: () => 1 });
    expect(ceilings(backoff, 5_000).at(-1)).toBe(60_000);
  });
});
