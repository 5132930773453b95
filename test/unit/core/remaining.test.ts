import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { remainingMs } from "../../../src/core/remaining.ts";

const DAY = 86_400_000;
const NOON = Date.UTC(2026, 10, 23, 12);
const asked = { acceptedWallMs: NOON, deadlineWallMs: NOON + 60_000 };

describe("the time a recovered question has left", () => {
  test.each([
    ["what passed is taken off", NOON + 20_000, 40_000],
    ["past the deadline nothing is left", NOON + 60_001, 0],
    ["a jump of a day forward expires it", NOON + DAY, 0],
    ["a jump of a day back gives it its whole time, not a day more", NOON - DAY, 60_000],
    ["a boot in 1970 gives it its whole time", 5_000, 60_000],
  ])("%s", (_, wallMs, left) => {
    expect(remainingMs(asked, wallMs)).toBe(left);
  });

  test("asked before the clock was set, recovered after: its whole time", () => {
    expect(remainingMs({ acceptedWallMs: 7_000, deadlineWallMs: 67_000 }, NOON)).toBe(60_000);
  });

  test("asked and recovered on a clock that was never set: what passed is taken off", () => {
    expect(remainingMs({ acceptedWallMs: 7_000, deadlineWallMs: 67_000 }, 27_000)).toBe(40_000);
  });

  test("a deadline before the arrival leaves nothing", () => {
    expect(remainingMs({ acceptedWallMs: NOON, deadlineWallMs: NOON - 1 }, NOON)).toBe(0);
  });

  test("is between nothing and the whole time on any clock", () => {
    const wall = fc.integer({ min: 0, max: 4_000_000_000_000 });
    fc.assert(
      fc.property(wall, fc.integer({ min: 0, max: DAY }), wall, (acceptedWallMs, wholeMs, wallMs) => {
        const left = remainingMs({ acceptedWallMs, deadlineWallMs: acceptedWallMs + wholeMs }, wallMs);
        expect(left).toBeGreaterThanOrEqual(0);
        expect(left).toBeLessThanOrEqual(wholeMs);
      }),
    );
  });
});
