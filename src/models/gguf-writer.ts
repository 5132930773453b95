// Writes a GGUF file (version 3) front to back: the header whole, the tensors streamed. The same input gives the same
// bytes everywhere, so that the result of an import can be pinned by its hash.
import type { FileHandle } from "node:fs/promises";
import { TENSOR_TYPES } from "./gguf-types.ts";
import { encodeWeights, type WeightType } from "./weight-encoding.ts";

export type GgufEntry =
  | { type: "u32" | "i32" | "f32"; value: number }
  | { type: "bool"; value: boolean }
  | { type: "text"; value: string }
  | { type: "texts"; value: string[] }
  | { type: "i32s"; value: number[] };

export interface TensorToWrite {
  name: string;
  type: WeightType;
  /** Fastest dimension first. */
  shape: number[];
  /** All weights, in pieces that are multiples of 32 where the type is Q8_0. */
  weights: () => AsyncIterable<Float32Array>;
}

export interface GgufToWrite {
  metadata: [key: string, entry: GgufEntry][];
  tensors: TensorToWrite[];
  /** Float32 weights behind the tensors, which GGUF readers leave alone. */
  appendix: { count: number; weights: () => AsyncIterable<Float32Array> } | undefined;
}

const ALIGNMENT = 32;

export interface PreparedGguf {
  totalBytes: number;
  /** Appends to `file`, which must be empty. `onProgress` gets the bytes written. */
  write(file: FileHandle, onProgress: (bytes: number) => void, signal?: AbortSignal): Promise<void>;
}

export function prepareGguf({ metadata, tensors, appendix }: GgufToWrite): PreparedGguf {
  const header = encodeHeader(metadata, tensors);
  const dataBytes = tensors.reduce((sum, tensor) => sum + aligned(tensorBytes(tensor)), 0);
  return {
    totalBytes: header.length + dataBytes + 4 * (appendix?.count ?? 0),
    async write(file, onProgress, signal) {
      let written = 0;
      const write = async (bytes: Uint8Array) => {
        signal?.throwIfAborted();
        await file.writeFile(bytes);
        written += bytes.length;
        onProgress(written);
      };
      await write(header);
      for (const { type, weights } of tensors) {
        for await (const piece of weights()) await write(encodeWeights(piece, type));
        if (written % ALIGNMENT !== 0) await write(Buffer.alloc(aligned(written) - written));
      }
      for await (const piece of appendix?.weights() ?? []) await write(encodeWeights(piece, "F32"));
    },
  };
}

export function tensorBytes({ shape, type }: { shape: number[]; type: WeightType }): number {
  const { blockWeights, blockBytes } = typeNamed(type);
  return (shape.reduce((product, extent) => product * extent, 1) / blockWeights) * blockBytes;
}

function encodeHeader(metadata: GgufToWrite["metadata"], tensors: TensorToWrite[]): Buffer {
  const parts: Buffer[] = [Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(metadata.length)];
  for (const [key, entry] of metadata) parts.push(text(key), ...encodeEntry(entry));
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape } = tensor;
    parts.push(text(name), u32(shape.length), ...shape.map(u64), u32(typeNamed(tensor.type).number), u64(offset));
    offset += aligned(tensorBytes(tensor));
  }
  const header = Buffer.concat(parts);
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length)]);
}

function encodeEntry(entry: GgufEntry): Buffer[] {
  switch (entry.type) {
    case "u32":
      return [u32(4), u32(entry.value)];
    case "i32":
      return [u32(5), i32(entry.value)];
    case "f32": {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatLE(entry.value);
      return [u32(6), bytes];
    }
    case "bool":
      return [u32(7), Buffer.from([entry.value ? 1 : 0])];
    case "text":
      return [u32(8), text(entry.value)];
    case "texts":
      return [u32(9), u32(8), u64(entry.value.length), ...entry.value.map(text)];
    case "i32s":
      return [u32(9), u32(5), u64(entry.value.length), ...entry.value.map(i32)];
  }
}

function typeNamed(name: WeightType): { number: number; blockWeights: number; blockBytes: number } {
  for (const [number, type] of TENSOR_TYPES) if (type.name === name) return { number, ...type };
  throw new RangeError(`no tensor type is called ${name}`);
}

function aligned(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([u64(bytes.length), bytes]);
}
