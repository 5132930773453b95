import { describe, expect, it } from "vitest";
import { applyClassificationHead, type ClassificationHead } from "../../../src/core/classification-head.ts";

const head: ClassificationHead = {
  activation: "relu",
  labels: ["yes", "no", "maybe"],
  link: "softmax",
  hiddenSize: 2,
  denseWeight: Float32Array.of(1, 2, -3, 4),
  denseBias: Float32Array.of(0.5, -1),
  outputWeight: Float32Array.of(1, 0, 0, 1, 1, 1),
  outputBias: Float32Array.of(0, 10, 100),
};

describe("a classification head", () => {
  it("is a dense layer, its activation and an output layer", () => {
    // dense: 1+4+0.5 = 5.5 and -3+8-1 = 4
    expect(applyClassificationHead(head, Float32Array.of(1, 2))).toEqual([5.5, 14, 109.5]);
  });

  it("cuts what is negative with ReLU and bends it with tanh", () => {
    const input = Float32Array.of(1, -1); // dense: -0.5 and -8
    expect(applyClassificationHead(head, input)).toEqual([0, 10, 100]);
    const [first = 0, second = 0] = applyClassificationHead({ ...head, activation: "tanh" }, input);
    expect(first).toBeCloseTo(Math.tanh(-0.5), 12);
    expect(second).toBeCloseTo(10 + Math.tanh(-8), 12);
  });

  it("refuses a vector of another size", () => {
    expect(() => applyClassificationHead(head, Float32Array.of(1, 2, 3))).toThrowError(
      /has 3 numbers, the head takes 2/,
    );
  });
});
