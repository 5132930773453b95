import { describe, expect, test } from "vitest";
import { growthMbPerHour, type Sample } from "../chaos/growth.ts";
import { Random } from "../fakes/random.ts";

function samples(count: number, bytesAt: (index: number) => number): Sample[] {
  return Array.from({ length: count }, (_, index) => ({ ms: index * 5_000, bytes: bytesAt(index) }));
}

describe("growth of a long run", () => {
  test("is seen through noise and a single leap", () => {
    const random = new Random(1);
    // 5 s apart: 720 samples an hour, of 10 kB more each.
    const leaking = samples(500, (index) => 1e8 + index * 10_000 + random.below(500_000) + (index === 7 ? 5e7 : 0));
    expect(growthMbPerHour(leaking)).toBeGreaterThan(7);
    expect(growthMbPerHour(leaking)).toBeLessThan(7.4);
  });

  test("is none where only noise is", () => {
    const random = new Random(2);
    expect(Math.abs(growthMbPerHour(samples(6_000, () => 1e8 + random.below(500_000))))).toBeLessThan(0.1);
  });
});
