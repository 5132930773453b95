// Reads a .safetensors file: its header checked in full before any tensor is touched, its tensors streamed as float32 in
// pieces. A header that is too large, leaves the file, overlaps, has holes or contradicts a tensor's shape is refused.
import { type FileHandle, open } from "node:fs/promises";
import { badModelFile } from "./bounded-reader.ts";
import { quoted } from "./gguf-metadata.ts";
import { bf16ToF32, f16ToF32 } from "./weight-encoding.ts";

export interface SafeTensor {
  dtype: string;
  shape: number[];
  /** Position in the file. */
  offsetBytes: number;
  sizeBytes: number;
}

// The header of BERT-large takes 50 KB.
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const MAX_DIMENSIONS = 8;
// Weights in one piece: 1 MiB as float32, and a multiple of every quantization block.
const PIECE_WEIGHTS = 256 * 1024;

const DTYPE_BYTES = new Map([
  ["BOOL", 1],
  ["U8", 1],
  ["I8", 1],
  ["F8_E5M2", 1],
  ["F8_E4M3", 1],
  ["I16", 2],
  ["U16", 2],
  ["F16", 2],
  ["BF16", 2],
  ["I32", 4],
  ["U32", 4],
  ["F32", 4],
  ["F64", 8],
  ["I64", 8],
  ["U64", 8],
]);

export class SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, SafeTensor>;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle, tensors: Map<string, SafeTensor>) {
    this.path = path;
    this.#file = file;
    this.tensors = tensors;
  }

  /** @throws PipitError `bad_model_file` (kind `config`) naming the fault; file system errors as they are. */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await open(path, "r");
    try {
      return new SafetensorsFile(path, file, await readHeader(path, file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  /** The weights of one tensor in order, in pieces of at most 262,144. Only F32, F16 and BF16 hold weights. */
  async *read(name: string): AsyncGenerator<Float32Array> {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw badModelFile(this.path, `has no tensor ${quoted(name)}`);
    const { dtype, offsetBytes, sizeBytes } = tensor;
    if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
      throw badModelFile(this.path, `tensor ${quoted(name)} is ${dtype}; F32, F16 and BF16 can be imported`);
    }
    const weightBytes = dtype === "F32" ? 4 : 2;
    for (let done = 0; done < sizeBytes;) {
      const bytes = Math.min(PIECE_WEIGHTS * weightBytes, sizeBytes - done);
      const piece = new Uint8Array(bytes);
      for (let got = 0; got < bytes;) {
        const { bytesRead } = await this.#file.read(piece, got, bytes - got, offsetBytes + done + got);
        if (bytesRead === 0) throw badModelFile(this.path, "became shorter while it was read");
        got += bytesRead;
      }
      done += bytes;
      yield decode(piece, dtype);
    }
  }
}

function decode(piece: Uint8Array, dtype: "F32" | "F16" | "BF16"): Float32Array {
  if (dtype === "F32") return new Float32Array(piece.buffer);
  const halves = new Uint16Array(piece.buffer);
  return Float32Array.from(halves, dtype === "F16" ? f16ToF32 : bf16ToF32);
}

async function readHeader(path: string, file: FileHandle): Promise<Map<string, SafeTensor>> {
  const { size } = await file.stat();
  const prefix = Buffer.alloc(8);
  if ((await file.read(prefix, 0, 8, 0)).bytesRead < 8) throw badModelFile(path, "is too short for a safetensors file");
  const headerBytes = prefix.readBigUInt64LE();
  if (headerBytes > BigInt(Math.min(MAX_HEADER_BYTES, size - 8))) {
    throw badModelFile(
      path,
      `claims a header of ${headerBytes} bytes; the file has ${size}, ${MAX_HEADER_BYTES} are allowed`,
    );
  }
  const text = Buffer.alloc(Number(headerBytes));
  if ((await file.read(text, 0, text.length, 8)).bytesRead < text.length)
    throw badModelFile(path, "ends in its header");
  let header: unknown;
  try {
    header = JSON.parse(text.toString("utf8"));
  } catch (error) {
    throw badModelFile(path, "has a header that is not JSON", error);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw badModelFile(path, "has a header that is not a JSON object");
  }
  const dataStart = 8 + text.length;
  const tensors = new Map<string, SafeTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") tensors.set(name, checkEntry(path, name, entry, dataStart));
  }
  checkCoverage(path, tensors, dataStart, size);
  return tensors;
}

function checkEntry(path: string, name: string, entry: unknown, dataStart: number): SafeTensor {
  const bad = (why: string) => badModelFile(path, `tensor ${quoted(name)} ${why}`);
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  const itemBytes = typeof dtype === "string" ? DTYPE_BYTES.get(dtype) : undefined;
  if (typeof dtype !== "string" || itemBytes === undefined)
    throw bad(`has dtype ${quoted(String(dtype))}, which does not exist`);
  if (!isCounts(shape) || shape.length > MAX_DIMENSIONS) throw bad("has no sound shape");
  if (!isCounts(offsets) || offsets.length !== 2) throw bad("has no sound data_offsets");
  const [start = 0, end = 0] = offsets;
  const sizeBytes = shape.reduce((product, extent) => product * extent, itemBytes);
  if (end - start !== sizeBytes)
    throw bad(`of shape [${shape.join(", ")}] takes ${sizeBytes} bytes, data_offsets give ${end - start}`);
  return { dtype, shape, offsetBytes: dataStart + start, sizeBytes };
}

/** The tensors must fill the rest of the file exactly, as the format demands: no overlap, no hole, nothing outside. */
function checkCoverage(path: string, tensors: Map<string, SafeTensor>, dataStart: number, fileBytes: number): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offsetBytes - b.offsetBytes || a.sizeBytes - b.sizeBytes);
  let expected = dataStart;
  for (const [name, { offsetBytes, sizeBytes }] of inOrder) {
    if (offsetBytes !== expected) {
      throw badModelFile(
        path,
        `tensor ${quoted(name)} begins at byte ${offsetBytes}, expected ${expected}: overlap or hole`,
      );
    }
    expected = offsetBytes + sizeBytes;
    if (expected > fileBytes)
      throw badModelFile(path, `is truncated: tensor ${quoted(name)} ends at byte ${expected} of ${fileBytes}`);
  }
  if (expected !== fileBytes) throw badModelFile(path, `has ${fileBytes - expected} bytes that belong to no tensor`);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}
