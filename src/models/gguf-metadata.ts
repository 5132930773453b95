// The metadata of a GGUF file: keys with scalars, strings and arrays. Scalars and short number arrays are kept; token
// tables and other long arrays are skipped and only counted, so that a vocabulary of 262,144 tokens costs no memory.
import { type BoundedReader, badModelFile } from "./bounded-reader.ts";

/** A scalar, or an array of up to MAX_KEPT_ARRAY numbers (heads per layer and the like). */
export type GgufValue = string | number | bigint | boolean | number[];

export const MAX_KEYS = 65_536;
const MAX_KEY_BYTES = 65_535;
const MAX_KEPT_ARRAY = 4096;
// The largest string a model carries is its chat template; the longest seen is below 100 KiB.
const MAX_STRING_BYTES = 4 * 1024 * 1024;

// Numbers of the value types in the file.
const STRING = 8;
const ARRAY = 9;
const VALUE_BYTES = new Map([
  [0, 1],
  [1, 1],
  [2, 2],
  [3, 2],
  [4, 4],
  [5, 4],
  [6, 4],
  [7, 1],
  [10, 8],
  [11, 8],
  [12, 8],
]);

export interface GgufMetadata {
  metadata: Map<string, GgufValue>;
  /** Lengths of the arrays that were skipped, by their key. */
  arrayLengths: Map<string, number>;
}

export async function readMetadata(reader: BoundedReader, keyCount: number): Promise<GgufMetadata> {
  const metadata = new Map<string, GgufValue>();
  const arrayLengths = new Map<string, number>();
  for (let i = 0; i < keyCount; i++) {
    const key = await reader.text(`metadata key ${i}`, MAX_KEY_BYTES);
    if (key === "" || metadata.has(key) || arrayLengths.has(key)) {
      throw badModelFile(reader.path, `metadata key ${i} is ${key === "" ? "empty" : `a second ${quoted(key)}`}`);
    }
    await readEntry(reader, key, metadata, arrayLengths);
  }
  return { metadata, arrayLengths };
}

async function readEntry(
  reader: BoundedReader,
  key: string,
  metadata: Map<string, GgufValue>,
  arrayLengths: Map<string, number>,
): Promise<void> {
  const type = await reader.u32(`type of ${quoted(key)}`);
  if (type !== ARRAY) {
    metadata.set(key, await readScalar(reader, key, type));
    return;
  }
  const itemType = await reader.u32(`item type of ${quoted(key)}`);
  const itemBytes = itemType === STRING ? 8 : VALUE_BYTES.get(itemType);
  if (itemBytes === undefined) throw unknownType(reader, key, itemType);
  const count = await reader.count(
    `length of ${quoted(key)}`,
    Math.floor(Math.max(0, reader.remaining - 8) / itemBytes),
  );
  if (itemType === STRING) {
    await skipStrings(reader, key, count);
  } else if (count <= MAX_KEPT_ARRAY) {
    const items: number[] = [];
    for (let i = 0; i < count; i++) items.push(Number(await readScalar(reader, key, itemType)));
    metadata.set(key, items);
    return;
  } else {
    await reader.skip(count * itemBytes, quoted(key));
  }
  arrayLengths.set(key, count);
}

// A quarter of a million tokens pass here: the loop waits only when the buffer is used up.
async function skipStrings(reader: BoundedReader, key: string, count: number): Promise<void> {
  const what = `string of ${quoted(key)}`;
  for (let i = 0; i < count; i++) {
    if (reader.ready < 8) await reader.need(8, what);
    const bytes = reader.takeCount(`length of a ${what}`, Math.max(0, reader.remaining - 8));
    if (reader.ready >= bytes) reader.takeBytes(bytes);
    else await reader.skip(bytes, what);
  }
}

async function readScalar(
  reader: BoundedReader,
  key: string,
  type: number,
): Promise<string | number | bigint | boolean> {
  if (type === STRING) return await reader.text(quoted(key), MAX_STRING_BYTES);
  const bytes = VALUE_BYTES.get(type);
  if (bytes === undefined) throw unknownType(reader, key, type);
  await reader.need(bytes, quoted(key));
  const raw = reader.takeBytes(bytes);
  switch (type) {
    case 0:
      return raw.readUInt8();
    case 1:
      return raw.readInt8();
    case 2:
      return raw.readUInt16LE();
    case 3:
      return raw.readInt16LE();
    case 4:
      return raw.readUInt32LE();
    case 5:
      return raw.readInt32LE();
    case 6:
      return raw.readFloatLE();
    case 7:
      return raw.readUInt8() !== 0;
    case 10:
      return raw.readBigUInt64LE();
    case 11:
      return raw.readBigInt64LE();
    default:
      return raw.readDoubleLE();
  }
}

function unknownType(reader: BoundedReader, key: string, type: number) {
  return badModelFile(reader.path, `metadata ${quoted(key)} has value type ${type}, which does not exist`);
}

/** Names from the file, made safe to show. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
