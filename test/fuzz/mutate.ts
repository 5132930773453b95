// Inputs that are nearly right: sound ones with bytes changed, cut, doubled and joined, and texts put together from the words
// that a format knows. Purely random bytes hardly get past the first check of a reader.
import type { Random } from "../fakes/random.ts";

const NUMBERS = [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)] as T;
}

/** A copy of one of `seeds` with one to six wounds; now and then plain noise. */
export function mutated(random: Random, seeds: readonly Uint8Array[]): Uint8Array {
  if (random.chance(0.02)) return noise(random, random.below(256));
  let bytes = Buffer.from(pick(random, seeds));
  for (let wounds = 1 + random.below(6); wounds > 0; wounds--) bytes = wounded(random, bytes, seeds);
  return bytes;
}

export function noise(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

function wounded(random: Random, bytes: Buffer, seeds: readonly Uint8Array[]): Buffer<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const length = random.chance(0.8) ? random.below(8) : random.below(bytes.length + 1);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (random.below(7)) {
    case 0:
      return at < bytes.length ? changed(bytes, at, (byte) => byte ^ (1 << random.below(8))) : Buffer.from(bytes);
    case 1:
      return at < bytes.length ? changed(bytes, at, () => random.below(256)) : Buffer.from(bytes);
    case 2:
      return Buffer.from(before);
    case 3:
      return Buffer.concat([before, after.subarray(length)]);
    case 4:
      return Buffer.concat([before, noise(random, Math.min(length, 64)), after]);
    case 5:
      return Buffer.concat([before, numberBytes(random), after.subarray(random.chance(0.8) ? 4 : 0)]);
    default: {
      const other = pick(random, seeds);
      return Buffer.concat([before, other.subarray(random.below(other.length + 1))]);
    }
  }
}

function changed(bytes: Buffer, at: number, change: (byte: number) => number): Buffer<ArrayBuffer> {
  const copy = Buffer.from(bytes);
  copy[at] = change(copy[at] ?? 0);
  return copy;
}

function numberBytes(random: Random): Buffer {
  const bytes = Buffer.alloc(4);
  const value = pick(random, NUMBERS);
  if (random.chance(0.5)) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return bytes;
}

const ODD_TEXTS = [
  "",
  " ",
  "\0",
  "\u202e",
  "\ufeff",
  "\ud800",
  "e\u0301",
  "👩‍👩‍👧",
  "ß",
  "İ",
  "\r\n",
  "__proto__",
  "constructor",
  "toString",
  "NaN",
  "-0",
];

/** Words of a format, odd characters and noise, one after the other. */
export function wordy(random: Random, words: readonly string[], most: number): string {
  return Array.from({ length: random.below(most + 1) }, () => {
    if (random.chance(0.8)) return pick(random, words);
    return random.chance(0.5) ? pick(random, ODD_TEXTS) : String.fromCharCode(random.below(0x10000));
  }).join("");
}

/** Any value that JSON can carry, with known names among its keys. */
export function anyJson(random: Random, names: readonly string[], depth = 3): unknown {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
      return pick(random, [null, true, false]);
    case 1:
      return pick(random, [0, -0, 1, -1, 1.5, 1e308, 2 ** 53, -(2 ** 31), 64, 65_536]);
    case 2:
      return random.below(1000);
    case 3:
      return pick(random, names);
    case 4:
      return "x".repeat(random.below(300));
    case 5:
      return wordy(random, names, 4);
    case 6:
      return Array.from({ length: random.below(5) }, () => anyJson(random, names, depth - 1));
    default:
      return anyRecord(random, names, depth - 1);
  }
}

/** As an own property whatever the name is: `__proto__` too, as JSON.parse makes it. */
export function anyRecord(random: Random, names: readonly string[], depth = 3): object {
  const record = {};
  for (let left = random.below(6); left > 0; left--) {
    const name = random.chance(0.85) ? pick(random, names) : wordy(random, names, 2);
    const value = anyJson(random, names, depth);
    Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return record;
}
