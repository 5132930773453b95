import { describe, expect, it } from "vitest";
import { fitLogistic, logitsOf, sigmoid } from "../../../src/core/logistic.ts";
import { softmax } from "../../../src/core/labels.ts";

const rows = (...values: number[][]) => values.map((own) => Float64Array.from(own));

describe("fitLogistic", () => {
  it("finds the closed solution where all that can be learnt is how often a label is right", () => {
    const problem = {
      features: rows([0], [0], [0], [0]),
      targets: rows([1, 0], [1, 0], [1, 0], [0, 1]),
      weights: [1, 1, 1, 1],
    };
    const coefficients = fitLogistic({ ...problem, link: "softmax" }, 0.01);
    expect(softmax(logitsOf(coefficients, Float64Array.of(0)))[0]).toBeCloseTo(0.75, 2);
  });

  it("ends where the gradient of the regularised loss is zero", () => {
    const features = rows([1, 0.2], [0.8, -0.3], [-0.9, 0.1], [-0.6, 0.7], [0.1, 1]);
    const targets = rows([1], [1], [0], [0], [1]);
    const regularisation = 0.1;
    const [solution] = fitLogistic({ features, targets, weights: [1, 1, 1, 1, 1], link: "sigmoid" }, regularisation);
    for (const index of [0, 1]) {
      const slope = features.reduce((sum, own, at) => {
        const [logit = 0] = logitsOf([solution!], own);
        return sum + (sigmoid(logit) - targets[at]![0]!) * own[index]!;
      }, 0);
      expect(slope / features.length + regularisation * solution![index]!).toBeCloseTo(0, 3);
    }
  });

  it("counts a case of weight 3 like the case three times", () => {
    const [a, b] = rows([1, 0.2], [-0.5, 0.4]);
    const [yes, no] = rows([1, 0], [0, 1]);
    const once = { features: [a!, b!], targets: [yes!, no!], weights: [3, 1], link: "softmax" as const };
    const thrice = {
      features: [a!, a!, a!, b!],
      targets: [yes!, yes!, yes!, no!],
      weights: [1, 1, 1, 1],
      link: "softmax" as const,
    };
    const flat = (coefficients: Float64Array[]) => coefficients.flatMap((own) => [...own]);
    const expected = flat(fitLogistic(thrice, 0.05));
    for (const [index, value] of flat(fitLogistic(once, 0.05)).entries())
      expect(value).toBeCloseTo(expected[index]!, 9);
  });
});
