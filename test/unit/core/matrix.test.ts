import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cholesky, dot, matrix, normalised, solveLower, solveUpper, weightedGram } from "../../../src/core/matrix.ts";
import { randomOf, randomVectors } from "./random.ts";

describe("matrix", () => {
  it("solves a positive definite system of any size through its Cholesky factor", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 24 }), fc.integer(), (size, seed) => {
        const random = randomOf(seed);
        const rows = randomVectors(size + 3, size, random).map((own) => Float64Array.from(own));
        const a = weightedGram(
          rows,
          rows.map(() => 1),
        );
        for (const [index, own] of a.entries()) own[index]! += 0.1;
        const wanted = Float64Array.from({ length: size }, () => random() - 0.5);
        const b = Float64Array.from(a, (own) => dot(own, wanted));
        const lower = cholesky(a);
        const found = solveUpper(lower, solveLower(lower, b));
        for (const [index, value] of wanted.entries()) expect(found[index]).toBeCloseTo(value, 8);
      }),
    );
  });

  it("sums weighted outer products, also when the rows are not a multiple of four", () => {
    const rows = [
      Float64Array.of(1, 2),
      Float64Array.of(3, 4),
      Float64Array.of(5, 6),
      Float64Array.of(7, 8),
      Float64Array.of(1, -1),
    ];
    expect(weightedGram(rows, [1, 1, 1, 1, 10]).map((own) => [...own])).toEqual([
      [94, 90],
      [90, 130],
    ]);
  });

  it("adds all products of a dot product of any length", () => {
    for (let length = 0; length < 10; length++) {
      const ones = new Float64Array(length).fill(1);
      expect(dot(ones, ones)).toBe(length);
    }
  });

  it("leaves a zero vector as it is and makes every other one of length 1", () => {
    expect([...normalised(Float32Array.of(0, 0))]).toEqual([0, 0]);
    expect([...normalised(Float32Array.of(3, 4))]).toEqual([0.6, 0.8]);
    expect(matrix(2, 3).map((own) => own.length)).toEqual([3, 3]);
  });
});
