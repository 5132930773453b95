import { describe, expect, test } from "vitest";
import type { Usage } from "../../../src/core/ports.ts";
import { Speeds } from "../../../src/core/speeds.ts";
import { questionOf, routeOf } from "../../fixtures/questions.ts";

const usage = (more: Partial<Usage> = {}): Usage => ({
  promptTokens: 100,
  cachedTokens: 0,
  completionTokens: 11,
  ...more,
});
const sixteenCharacters = questionOf({ text: "x".repeat(16) });

describe("the speed of a board", () => {
  test("is unknown at first, and estimates nothing", () => {
    const speeds = new Speeds();
    expect(speeds.prefillTokensPerSecond).toBeUndefined();
    expect(speeds.decodeTokensPerSecond).toBeUndefined();
    expect(speeds.estimateMs(sixteenCharacters)).toBe(0);
  });

  test("is the first measurement, then a mean that follows", () => {
    const speeds = new Speeds();
    speeds.observe("ask", usage(), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(200);
    expect(speeds.decodeTokensPerSecond).toBeCloseTo(50);
    for (let time = 0; time < 50; time += 1) speeds.observe("ask", usage(), 1000, 100);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(100, 1);
    expect(speeds.decodeTokensPerSecond).toBeCloseTo(100, 1);
  });

  test("of reading leaves out what was in the cache, and too short reads", () => {
    const speeds = new Speeds();
    speeds.observe("ask", usage({ cachedTokens: 95 }), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeUndefined();
    speeds.observe("ask", usage({ cachedTokens: 50 }), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(100);
  });

  test("estimates by the answers a route really gives, at most what a question allows", () => {
    const speeds = new Speeds();
    speeds.observe("ask", usage(), 500, 200);
    // 4 tokens to read at 5 ms, 11 to write at 20 ms.
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo(20 + 220);
    expect(speeds.estimateMs(questionOf({ text: "x".repeat(16), max_tokens: 2 }))).toBeCloseTo(20 + 40);
    const other = questionOf({ text: "x".repeat(16) }, { route: routeOf({ name: "other" }) });
    expect(speeds.estimateMs(other)).toBeCloseTo(20);
  });

  test("of a classification counts what it reads", () => {
    const speeds = new Speeds();
    speeds.observe("label", usage({ completionTokens: 0 }), 500, 0);
    expect(speeds.decodeTokensPerSecond).toBeUndefined();
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo(20);
  });
});
