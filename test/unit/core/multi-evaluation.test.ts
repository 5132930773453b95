import { describe, expect, it } from "vitest";
import { evaluateLabels, type JudgedLabels } from "../../../src/core/multi-evaluation.ts";

const judged = (expected: string[], found: string[], probabilities: Record<string, number> = {}): JudgedLabels => ({
  text: `${expected.join("+")} as ${found.join("+")}`,
  expected,
  found,
  probabilities,
  by: "head",
  latencyMs: 5,
});

describe("several labels a text", () => {
  const rows = [judged(["fire", "water"], ["fire"]), judged([], []), judged(["water"], ["water", "fire"])];
  const evaluation = evaluateLabels(rows, ["fire", "water", "intruder"]);

  it("count as right together, and each for itself", () => {
    expect(evaluation.exactMatch).toBeCloseTo(1 / 3, 12);
    expect(evaluation.labels).toEqual([
      { label: "fire", cases: 1, precision: 0.5, recall: 1, f1: 2 / 3 },
      { label: "water", cases: 2, precision: 1, recall: 0.5, f1: 2 / 3 },
      { label: "intruder", cases: 0, precision: 0, recall: 0, f1: 0 },
    ]);
    expect(evaluation.microF1).toBeCloseTo(4 / 6, 12);
    expect(evaluation.macroF1).toBeCloseTo(2 / 3, 12);
    expect(evaluation.paths).toMatchObject([{ by: "head", cases: 3, accuracy: 1 / 3 }]);
  });

  it("say of each mistake what is missing and what is wrong", () => {
    expect(evaluation.mistakes).toEqual([
      { text: "fire+water as fire", missing: ["water"], wrong: [] },
      { text: "water as water+fire", missing: [], wrong: ["fire"] },
    ]);
  });

  it("are measured by their probabilities, label by label", () => {
    const sure = [
      judged(["fire"], ["fire"], { fire: 0.95, water: 0.05 }),
      judged([], ["fire"], { fire: 0.95, water: 0.05 }),
    ];
    expect(evaluateLabels(sure, ["fire", "water"]).calibrationError).toBeCloseTo((0.45 + 0.05) / 2, 12);
  });

  it("of no text at all are 0 right, not something that is no number", () => {
    const { exactMatch, microF1, macroF1, calibrationError } = evaluateLabels([], ["fire"]);
    expect([exactMatch, microF1, macroF1, calibrationError]).toEqual([0, 0, 0, 0]);
  });
});
