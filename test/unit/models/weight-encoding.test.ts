import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bf16ToF32, encodeWeights, f16ToF32, f32ToF16 } from "../../../src/models/weight-encoding.ts";

describe("F16", () => {
  it.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [-1e10, 0xfc00],
    [Infinity, 0x7c00],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000], // half of the smallest: a tie, to even
    [2 ** -25 * 1.001, 0x0001],
    [3 * 2 ** -25, 0x0002], // a tie between 1 and 2, to even
    [1 + 2 ** -11, 0x3c00], // a tie, to even
    [1 + 3 * 2 ** -11, 0x3c02],
    [(1 - 2 ** -12) * 2 ** -14, 0x0400], // rounds up out of the subnormals
  ])("of %d is %d", (value, half) => expect(f32ToF16(value)).toBe(half));

  it("survives the way there and back, for every pattern that is a number", () => {
    for (let half = 0; half < 0x10000; half++) {
      if (!Number.isNaN(f16ToF32(half))) expect(f32ToF16(f16ToF32(half))).toBe(half);
    }
    expect(f16ToF32(f32ToF16(NaN))).toBeNaN();
  });

  it("is never further away than the next of its neighbours", () => {
    fc.assert(
      fc.property(fc.float({ min: -65504, max: 65504, noNaN: true }), (value) => {
        const half = f32ToF16(value);
        const error = Math.abs(f16ToF32(half) - value);
        for (const near of [half - 1, half + 1]) {
          if (near >= 0 && Number.isFinite(f16ToF32(near)))
            expect(error).toBeLessThanOrEqual(Math.abs(f16ToF32(near) - value));
        }
      }),
    );
  });
});

describe("BF16", () => {
  it("is the upper half of float32", () => {
    expect(bf16ToF32(0x3fc0)).toBe(1.5);
    expect(bf16ToF32(0xc000)).toBe(-2);
  });
});

describe("Q8_0", () => {
  it("keeps each weight within half a step of its block's scale", () => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 64, maxLength: 64 }),
        (values) => {
          const bytes = encodeWeights(Float32Array.from(values), "Q8_0");
          expect(bytes.length).toBe(68);
          const view = new DataView(bytes.buffer);
          for (const [i, value] of values.entries()) {
            const block = Math.floor(i / 32);
            const scale = f16ToF32(view.getUint16(block * 34, true));
            const got = view.getInt8(block * 34 + 2 + (i % 32)) * scale;
            // The scale itself is rounded to F16: 127 steps of it can be off by 2^-11 of the largest weight, or a subnormal.
            const largest = Math.max(...values.slice(block * 32, block * 32 + 32).map(Math.abs));
            expect(Math.abs(got - value)).toBeLessThanOrEqual(largest / 254 + largest * 2 ** -10 + 127 * 2 ** -24);
          }
        },
      ),
    );
  });

  it("rounds halves away from zero, as ggml does", () => {
    const weights = new Float32Array(32);
    weights.set([127, 0.5, -0.5, 1.5, -1.5, 0.49]);
    const bytes = encodeWeights(weights, "Q8_0");
    expect([...new Int8Array(bytes.buffer, 2, 6)]).toEqual([127, 1, -1, 2, -2, 0]);
  });

  it("of nothing but zeros is zeros", () => {
    expect(encodeWeights(new Float32Array(32), "Q8_0")).toEqual(new Uint8Array(34));
  });

  it("refuses what does not fill blocks", () => {
    expect(() => encodeWeights(new Float32Array(33), "Q8_0")).toThrowError(RangeError);
  });
});
