import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { auroc, evaluate, type Judged, percentile } from "../../../src/core/evaluation.ts";

const judged = (expected: string | null, best: string, more: Partial<Judged> = {}): Judged => ({
  text: `${expected} as ${best}`,
  expected,
  best,
  label: best,
  confidence: 0.8,
  similarity: 0.5,
  by: "head",
  latencyMs: 5,
  ...more,
});

describe("evaluate", () => {
  const rows = [judged("a", "a"), judged("a", "a"), judged("a", "b"), judged("b", "b"), judged("c", "b")];

  it("counts right answers, label by label", () => {
    const { accuracy, confusion, labels, macroF1 } = evaluate(rows, ["a", "b", "c"]);
    expect(accuracy).toBe(0.6);
    expect(confusion).toEqual([
      [2, 1, 0],
      [0, 1, 0],
      [0, 1, 0],
    ]);
    expect(labels[0]).toEqual({ label: "a", cases: 3, precision: 1, recall: 2 / 3, f1: 0.8 });
    expect(labels[1]).toEqual({ label: "b", cases: 1, precision: 1 / 3, recall: 1, f1: 0.5 });
    expect(macroF1).toBeCloseTo((0.8 + 0.5 + 0) / 3, 12);
  });

  it("measures how far confidence lies from accuracy, bin by bin", () => {
    const sure = [judged("a", "a", { confidence: 0.95 }), judged("a", "b", { confidence: 0.95 })];
    const unsure = [judged("a", "a", { confidence: 0.55 }), judged("a", "a", { confidence: 0.55 })];
    const { calibrationError, reliability } = evaluate([...sure, ...unsure], ["a", "b"]);
    expect(calibrationError).toBeCloseTo((0.45 + 0.45) / 2, 12);
    expect(reliability[9]).toMatchObject({ cases: 2, accuracy: 0.5 });
    expect(reliability.reduce((sum, { cases }) => sum + cases, 0)).toBe(4);
  });

  it("shows what abstaining buys", () => {
    const mixed = [judged("a", "a", { confidence: 0.9 }), judged("a", "b", { confidence: 0.3 })];
    const { abstention } = evaluate(mixed, ["a", "b"]);
    expect(abstention.find(({ threshold }) => threshold === 0)).toMatchObject({ coverage: 1, accuracy: 0.5 });
    expect(abstention.find(({ threshold }) => threshold === 0.5)).toMatchObject({ coverage: 0.5, accuracy: 1 });
  });

  it("tells answered from abstained, and keeps texts without a label out of the accuracy", () => {
    const outside = judged(null, "b", { similarity: 0.1, label: null });
    const { cases, coverage, answeredAccuracy, outOfScopeAuroc } = evaluate(
      [judged("a", "a"), judged("b", "a", { label: null }), judged("b", "a", { label: "unknown" }), outside],
      ["a", "b"],
    );
    expect({ cases, coverage, answeredAccuracy, outOfScopeAuroc }).toEqual({
      cases: 3,
      coverage: 1 / 3,
      answeredAccuracy: 1,
      outOfScopeAuroc: 1,
    });
  });

  it("gives accuracy and latency of each path", () => {
    const decoded = [3, 90, 100].map((latencyMs) => judged("a", "b", { by: "decoder", latencyMs }));
    const { paths } = evaluate([...decoded, judged("a", "a")], ["a", "b"]);
    expect(paths).toEqual([
      { by: "decoder", cases: 3, accuracy: 0, p50Ms: 90, p95Ms: 100 },
      { by: "head", cases: 1, accuracy: 1, p50Ms: 5, p95Ms: 5 },
    ]);
  });

  it("has numbers, not NaN, for no text at all", () => {
    const figures = evaluate([], ["a"]);
    expect(JSON.stringify(figures)).not.toContain("null");
  });
});

describe("auroc", () => {
  it("is the share of pairs in the right order, ties half", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1 }),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1 }),
        (above, below) => {
          const pairs = above.flatMap((one) => below.map((other) => (one > other ? 1 : one === other ? 0.5 : 0)));
          const expected = pairs.reduce<number>((sum, value) => sum + value, 0) / pairs.length;
          expect(auroc(above, below)).toBeCloseTo(expected, 9);
        },
      ),
    );
  });
});

describe("percentile", () => {
  it.each([
    [[], 0.5, 0],
    [[7], 0.95, 7],
    [[3, 1, 2], 0.5, 2],
    [[4, 3, 2, 1], 0.5, 2],
    [Array.from({ length: 100 }, (_, index) => index + 1), 0.95, 95],
  ])("of %j at %d is %d", (values, part, expected) => expect(percentile(values, part)).toBe(expected));
});
