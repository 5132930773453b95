import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { branchPoints, pathLogProbabilities } from "../../../src/engine/label-trie.ts";

const END = -1;

describe("the tree of candidates", () => {
  test("of single tokens needs the root alone", () => {
    expect(branchPoints([[1], [2], [3]], END)).toEqual([{ path: [], next: [1, 2, 3] }]);
  });

  test("shares a common beginning", () => {
    expect(branchPoints([[1, 2], [1, 3], [4]], END)).toEqual([
      { path: [], next: [1, 4] },
      { path: [1], next: [2, 3] },
    ]);
  });

  test("asks for the end where one candidate is the beginning of another", () => {
    expect(branchPoints([[1], [1, 2]], END)).toEqual([
      { path: [], next: [1] },
      { path: [1], next: [END, 2] },
    ]);
  });

  test("sums along each candidate and counts its tokens", () => {
    const table: Record<string, number> = { ":1": -1, "1:-1": -2, "1:2": -3, ":4": -5 };
    const sums = pathLogProbabilities(
      [[1], [1, 2], [4]],
      END,
      (path, token) => table[`${path.join()}:${token}`] ?? NaN,
    );
    expect(sums).toEqual([
      { sum: -3, tokens: 2 },
      { sum: -4, tokens: 2 },
      { sum: -5, tokens: 1 },
    ]);
  });

  test("has every probability that the sums ask for, parents first", () => {
    const candidate = fc.array(fc.nat({ max: 3 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(candidate, { minLength: 1, maxLength: 6 }), (candidates) => {
        const points = branchPoints(candidates, END);
        const known = new Set(points.flatMap(({ path, next }) => next.map((token) => `${path.join()}:${token}`)));
        const sums = pathLogProbabilities(candidates, END, (path, token) => {
          expect(known).toContain(`${path.join()}:${token}`);
          return -1;
        });
        expect(sums.map(({ sum }) => -sum)).toEqual(sums.map(({ tokens }) => tokens));
        const depths = points.map(({ path }) => path.length);
        expect(depths).toEqual([...depths].sort((one, other) => one - other));
      }),
    );
  });
});
