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
const ASK = { name: "ask", task: "answer" } as const;
const LABEL = { name: "label", task: "classify" } as const;
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
    speeds.observe(ASK, usage(), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(200);
    expect(speeds.decodeTokensPerSecond).toBeCloseTo(50);
    for (let time = 0; time < 50; time += 1) speeds.observe(ASK, usage(), 1000, 100);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(100, 1);
    expect(speeds.decodeTokensPerSecond).toBeCloseTo(100, 1);
  });

  test("of reading leaves out what was in the cache, and too short reads", () => {
    const speeds = new Speeds();
    speeds.observe(ASK, usage({ cachedTokens: 95 }), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeUndefined();
    speeds.observe(ASK, usage({ cachedTokens: 50 }), 500, 200);
    expect(speeds.prefillTokensPerSecond).toBeCloseTo(100);
  });

  test("estimates by the answers a route really gives, at most what a question allows", () => {
    const speeds = new Speeds();
    speeds.observe(ASK, usage(), 500, 200);
    // 4 tokens to read at 5 ms, 11 to write at 20 ms.
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo(20 + 220);
    expect(speeds.estimateMs(questionOf({ text: "x".repeat(16), max_tokens: 2 }))).toBeCloseTo(20 + 40);
    // A route that has given none yet is taken to give 32 tokens.
    const other = questionOf({ text: "x".repeat(16) }, { route: routeOf({ name: "other" }) });
    expect(speeds.estimateMs(other)).toBeCloseTo(20 + 640);
  });

  test("of a classification counts what it reads, apart from what answers take", () => {
    const speeds = new Speeds();
    speeds.observe(LABEL, usage({ completionTokens: 0 }), 500, 0);
    expect(speeds.decodeTokensPerSecond).toBeUndefined();
    expect(speeds.estimateMs(sixteenCharacters)).toBe(0);
    const route = routeOf({ ...LABEL });
    expect(speeds.estimateMs(questionOf({ text: "x".repeat(16) }, { route }))).toBeCloseTo(20);
  });

  test("counts the context that is read before the text", () => {
    const speeds = new Speeds(() => 1);
    const context = "x".repeat(400);
    expect(speeds.estimateMs(questionOf({ text: "x".repeat(16), context, max_tokens: 1 }))).toBeCloseTo(104 + 1);
    expect(speeds.estimateTokens(questionOf({ text: "x".repeat(16), context, max_tokens: 1 }))).toBe(105);
  });
});

describe("the speed of a calibrated board", () => {
  test("estimates the first question by the calibration", () => {
    const speeds = new Speeds((phase) => (phase === "prefill" ? 5 : 20));
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo(4 * 5 + 32 * 20);
  });

  test("follows the threads of the moment, and how far the measured times are off", () => {
    let threads = 2;
    const speeds = new Speeds(() => 10 / threads);
    // Twice as slow as calibrated: a neighbour.
    speeds.observe(ASK, usage(), 100 * 10, 10 * 10);
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo((4 + 11) * 10);
    threads = 1;
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo((4 + 11) * 20);
  });

  test("goes by what was measured before the calibration until it is measured again", () => {
    const curve: { ms?: number } = {};
    const speeds = new Speeds(() => curve.ms);
    speeds.observe(ASK, usage(), 100 * 10, 10 * 10);
    curve.ms = 5;
    expect(speeds.estimateMs(sixteenCharacters)).toBeCloseTo((4 + 11) * 10);
  });
});
