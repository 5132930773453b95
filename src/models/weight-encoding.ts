// Weights between float32 and the formats of model files, bit for bit the same on every machine: F16 rounds to nearest,
// ties to even; Q8_0 is ggml's block of 32 weights with an F16 scale and rounds halves away from zero, as ggml does.

export const WEIGHT_TYPES = ["F32", "F16", "Q8_0"] as const;
export type WeightType = (typeof WEIGHT_TYPES)[number];

const BLOCK_WEIGHTS = 32;
const BLOCK_BYTES = 34;

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

export function f32ToF16(value: number): number {
  float[0] = value;
  const raw = bits[0] as number;
  const sign = (raw >>> 16) & 0x8000;
  const magnitude = raw & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // not a number
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds beyond 65504
  if (magnitude >= 0x38800000) {
    const rebased = magnitude - 0x38000000;
    return sign | ((rebased + 0x0fff + ((rebased >>> 13) & 1)) >>> 13);
  }
  // Subnormal: adding half a unit of 2^-24 in float64 is exact, so ties are seen as ties.
  const units = Math.abs(float[0] as number) * 2 ** 24;
  const floor = Math.floor(units);
  const rest = units - floor;
  return sign | (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor);
}

export function f16ToF32(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

export function bf16ToF32(half: number): number {
  bits[0] = half << 16;
  return float[0] as number;
}

/** The number of weights must be a multiple of 32 for Q8_0. */
export function encodeWeights(weights: Float32Array, type: WeightType): Uint8Array {
  switch (type) {
    case "F32":
      return new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength);
    case "F16": {
      const halves = new Uint16Array(weights.length);
      for (let i = 0; i < weights.length; i++) halves[i] = f32ToF16(weights[i] as number);
      return new Uint8Array(halves.buffer);
    }
    case "Q8_0":
      return encodeQ8(weights);
  }
}

function encodeQ8(weights: Float32Array): Uint8Array {
  const blocks = weights.length / BLOCK_WEIGHTS;
  if (!Number.isInteger(blocks))
    throw new RangeError(`${weights.length} weights do not fill blocks of ${BLOCK_WEIGHTS}`);
  const bytes = new Uint8Array(blocks * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK_WEIGHTS;
    let largest = 0;
    for (let i = from; i < from + BLOCK_WEIGHTS; i++) largest = Math.max(largest, Math.abs(weights[i] as number));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const to = block * BLOCK_BYTES;
    view.setUint16(to, f32ToF16(scale), true);
    for (let i = 0; i < BLOCK_WEIGHTS; i++) {
      const scaled = Math.fround((weights[from + i] as number) * inverse);
      view.setInt8(to + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
    }
  }
  return bytes;
}
