import { describe, expect, it } from "vitest";
import {
  type CalibrationCard,
  cardFromWire,
  cardToWire,
  curveOf,
  planSweep,
  samplesOf,
} from "../../../src/core/calibration.ts";
import { bestThreads, expectedMs } from "../../../src/core/speed-curve.ts";

const CARD: CalibrationCard = {
  key: { modelSha256: "ab", cpu: "Cortex-A76 x4", library: "3.22.1" },
  model: "tiny",
  measuredAt: "2026-11-24T02:00:00.000Z",
  tookMs: 1234,
  curve: { prefill: { 1: 93, 2: 174 }, decode: { 1: 32, 2: 34 } },
  batching: [{ sequences: 2, threads: 2, tokensPerSecond: 50 }],
};

describe("a sweep", () => {
  it("covers one core with three runs", () => {
    expect(planSweep(1, 1)).toEqual([
      { threads: 1, sequences: 1 },
      { threads: 1, sequences: 1 },
      { threads: 1, sequences: 1 },
    ]);
  });

  it("has every count write 2 and 4 answers side by side, after the single ones and the highest count first", () => {
    const batched = planSweep(3, 4).slice(9);
    expect(batched.map(({ threads, sequences }) => `${threads}x${sequences}`)).toEqual([
      "3x2",
      "3x4",
      "2x2",
      "2x4",
      "1x2",
      "1x4",
    ]);
  });

  it("takes only as many sequences as the context has", () => {
    expect(new Set(planSweep(2, 3).map(({ sequences }) => sequences))).toEqual(new Set([1, 2]));
    expect(new Set(planSweep(2, 4).map(({ sequences }) => sequences))).toEqual(new Set([1, 2, 4]));
  });
});

describe("samples", () => {
  it("leave out batches on other threads and the short end of the prompt, and are tokens by time", () => {
    const step = { phase: "decode" as const, tokens: 1, threads: 2, ms: 10 };
    const samples = samplesOf({ threads: 2, sequences: 1 }, [
      { phase: "prefill", tokens: 64, threads: 2, ms: 640 },
      { phase: "prefill", tokens: 3, threads: 2, ms: 300 },
      step,
      { ...step, ms: 30 },
      step,
      step,
      { ...step, ms: 40 },
      { ...step, threads: 1, ms: 1 },
    ]);
    expect(samples.map(({ phase, tokensPerSecond }) => [phase, tokensPerSecond])).toEqual([
      ["prefill", 100],
      ["decode", 50],
    ]);
  });

  it("count at their best pass", () => {
    const sample = { phase: "decode" as const, threads: 1, sequences: 1, tokensPerSecond: 50 };
    const curve = curveOf([
      sample,
      { ...sample, tokensPerSecond: 57 },
      { ...sample, sequences: 2, tokensPerSecond: 99 },
    ]);
    expect(curve.decode).toEqual({ 1: 57 });
  });
});

describe("a card", () => {
  it("comes back from its JSON unchanged", () => {
    expect(cardFromWire(JSON.parse(JSON.stringify(cardToWire(CARD))))).toEqual(CARD);
  });

  it.each([
    ["nothing", undefined],
    ["a list", []],
    ["a card of other words", { hello: 1 }],
    ["a curve without speeds", { ...cardToWire(CARD), tokens_per_second: { prefill: {}, decode: {} } }],
    ["a speed of zero", { ...cardToWire(CARD), tokens_per_second: { prefill: { 1: 0 }, decode: { 1: 3 } } }],
  ])("is not read from %s", (_, wire) => {
    expect(cardFromWire(wire)).toBeUndefined();
  });
});

describe("the best thread count", () => {
  it.each([
    ["the peak", { 1: 32, 2: 34, 3: 29, 4: 27 }, 4, 2],
    ["the fewer of equals", { 1: 33, 2: 33.5 }, 2, 1],
    ["the most that is allowed below the peak", { 1: 10, 2: 19, 3: 27, 4: 34 }, 3, 3],
  ])("is %s", (_, decode, most, best) => {
    expect(bestThreads({ prefill: { 1: 1 }, decode }, "decode", most)).toBe(best);
  });

  it.each([
    [1, 1.02],
    [2, 1.5],
    [2, 2],
  ])("is %d where a quota gives %d cores, of two that are twice as fast as one", (best, cores) => {
    const curve = { prefill: { 1: 100, 2: 195 }, decode: { 1: 1 } };
    expect(bestThreads(curve, "prefill", 2, cores)).toBe(best);
  });

  it("is a guess without a curve, and nothing is expected then", () => {
    expect(bestThreads(undefined, "prefill", 4)).toBe(4);
    expect(bestThreads(undefined, "decode", 4)).toBe(2);
    expect(expectedMs(undefined, "decode", 2)).toBeUndefined();
  });
});
