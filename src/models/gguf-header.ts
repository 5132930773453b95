// Reads what a GGUF file says about itself (versions 2 and 3) without loading it: metadata, tensor list, sizes. Bounded
// in time and memory whatever the file claims: counts, lengths and offsets are checked against the file before use, token
// tables are skipped, not kept. A file that passes has every tensor inside it, in order, without gaps or overlaps.
import { open } from "node:fs/promises";
import { BoundedReader, badModelFile } from "./bounded-reader.ts";
import { type GgufValue, MAX_KEYS, quoted, readMetadata } from "./gguf-metadata.ts";
import { TENSOR_TYPES } from "./gguf-types.ts";

export interface GgufTensor {
  name: string;
  type: string;
  /** Fastest dimension first, as in the file. */
  shape: number[];
  /** Position in the file. */
  offsetBytes: number;
  sizeBytes: number;
}

export interface GgufHeader {
  version: number;
  /** `llama`, `gemma3`, `bert` … */
  architecture: string;
  name: string | undefined;
  /** llama.cpp's number of the quantization mix; undefined where the file does not say. */
  fileType: number | undefined;
  /** Tokens the model was trained for; 0 where the file does not say. */
  contextTokens: number;
  layers: number;
  embeddingSize: number;
  /** Query heads of the widest layer. */
  heads: number;
  /** Key-value heads layer by layer; 0 for a layer without attention. */
  kvHeadsByLayer: number[];
  keyLength: number;
  valueLength: number;
  /** Tokens a windowed layer looks back; undefined where all layers see everything. */
  slidingWindowTokens: number | undefined;
  vocabularyTokens: number;
  hasChatTemplate: boolean;
  fileBytes: number;
  /** Sum over the tensors, by type. */
  bytesByType: Record<string, number>;
  tensorBytes: number;
  tensors: GgufTensor[];
  /** Every scalar and short number array of the file, by its key. */
  metadata: ReadonlyMap<string, GgufValue>;
  /** Lengths of the arrays that were skipped, by their key. */
  arrayLengths: ReadonlyMap<string, number>;
}

const MAX_TENSORS = 65_536;
const MAX_TENSOR_NAME_BYTES = 63;
const MAX_DIMENSIONS = 4;
const MAX_LAYERS = 4096;

/** @throws PipitError `bad_model_file` (kind `config`) when the file is not a whole, sound GGUF; file system errors as they are. */
export async function readGgufHeader(path: string): Promise<GgufHeader> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    return await parse(new BoundedReader(file, path, size));
  } finally {
    await file.close();
  }
}

async function parse(reader: BoundedReader): Promise<GgufHeader> {
  const { path } = reader;
  await reader.need(24, "the GGUF preamble");
  if (reader.takeBytes(4).toString("latin1") !== "GGUF") throw badModelFile(path, "is not a GGUF file");
  const version = reader.takeU32();
  if (version !== 2 && version !== 3) {
    throw badModelFile(path, `has GGUF version ${version}; versions 2 and 3, little-endian, are supported`);
  }
  const tensorCount = reader.takeCount("tensor count", MAX_TENSORS);
  const keyCount = reader.takeCount("metadata count", MAX_KEYS);
  const { metadata, arrayLengths } = await readMetadata(reader, keyCount);

  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || alignment <= 0 || alignment > 1 << 20 || (alignment & (alignment - 1)) !== 0) {
    throw badModelFile(path, `general.alignment is ${String(alignment)}, not a power of two up to ${1 << 20}`);
  }
  const tensors: GgufTensor[] = [];
  const names = new Set<string>();
  let expectedOffset = 0;
  for (let i = 0; i < tensorCount; i++) {
    const tensor = await readTensor(reader, i, expectedOffset);
    if (names.has(tensor.name)) throw badModelFile(path, `has two tensors named ${quoted(tensor.name)}`);
    names.add(tensor.name);
    tensors.push(tensor);
    expectedOffset = aligned(expectedOffset + tensor.sizeBytes, alignment);
  }
  const dataStart = aligned(reader.position, alignment);
  for (const tensor of tensors) {
    tensor.offsetBytes += dataStart;
    if (tensor.offsetBytes + tensor.sizeBytes > reader.sizeBytes) {
      const end = tensor.offsetBytes + tensor.sizeBytes;
      throw badModelFile(
        path,
        `is truncated: tensor ${quoted(tensor.name)} ends at byte ${end} of ${reader.sizeBytes}`,
      );
    }
  }
  return {
    version,
    ...describe(path, metadata, arrayLengths),
    ...sizes(reader.sizeBytes, tensors),
    metadata,
    arrayLengths,
  };
}

async function readTensor(reader: BoundedReader, index: number, expectedOffset: number): Promise<GgufTensor> {
  const { path } = reader;
  const name = await reader.text(`name of tensor ${index}`, MAX_TENSOR_NAME_BYTES);
  const label = `tensor ${quoted(name)}`;
  const dimensions = await reader.u32(`dimensions of ${label}`);
  if (dimensions > MAX_DIMENSIONS) {
    throw badModelFile(path, `${label} has ${dimensions} dimensions, at most ${MAX_DIMENSIONS} are possible`);
  }
  const shape: number[] = [];
  let weights = 1;
  for (let i = 0; i < dimensions; i++) {
    const extent = await reader.count(`dimension ${i} of ${label}`, Number.MAX_SAFE_INTEGER);
    shape.push(extent);
    weights *= extent;
  }
  const number = await reader.u32(`type of ${label}`);
  const type = TENSOR_TYPES.get(number);
  if (type === undefined) throw badModelFile(path, `${label} has type ${number}, which is not known here`);
  const row = shape[0] ?? 1;
  if (row % type.blockWeights !== 0) {
    throw badModelFile(
      path,
      `${label} has rows of ${row} weights, ${type.name} needs multiples of ${type.blockWeights}`,
    );
  }
  const sizeBytes = (weights / type.blockWeights) * type.blockBytes;
  if (!(sizeBytes <= reader.sizeBytes)) {
    throw badModelFile(path, `${label} would take ${sizeBytes} bytes, the file has ${reader.sizeBytes}`);
  }
  const offset = await reader.count(`offset of ${label}`, reader.sizeBytes);
  if (offset !== expectedOffset) {
    throw badModelFile(path, `${label} lies at ${offset} of the data, expected ${expectedOffset}`);
  }
  return { name, type: type.name, shape, offsetBytes: offset, sizeBytes };
}

function sizes(fileBytes: number, tensors: GgufTensor[]) {
  const bytesByType: Record<string, number> = {};
  let tensorBytes = 0;
  for (const { type, sizeBytes } of tensors) {
    bytesByType[type] = (bytesByType[type] ?? 0) + sizeBytes;
    tensorBytes += sizeBytes;
  }
  return { fileBytes, tensors, bytesByType, tensorBytes };
}

function describe(path: string, metadata: Map<string, GgufValue>, arrayLengths: Map<string, number>) {
  const architecture = metadata.get("general.architecture");
  if (typeof architecture !== "string" || architecture === "") {
    throw badModelFile(path, "does not name its architecture (general.architecture)");
  }
  const numbers = (key: string): number[] => {
    const value = metadata.get(`${architecture}.${key}`);
    if (value === undefined) return [];
    const list = Array.isArray(value) ? value : [Number(value)];
    if (list.every((n) => Number.isSafeInteger(n) && n >= 0 && n <= 2 ** 31)) return list;
    throw badModelFile(path, `${architecture}.${key} is ${JSON.stringify(String(value)).slice(0, 80)}, not a size`);
  };
  const largest = (key: string): number | undefined => {
    const list = numbers(key);
    return list.length === 0 ? undefined : Math.max(...list);
  };
  const layers = largest("block_count") ?? 0;
  if (layers > MAX_LAYERS)
    throw badModelFile(path, `${architecture}.block_count is ${layers}, more than ${MAX_LAYERS}`);
  const embeddingSize = largest("embedding_length") ?? 0;
  const heads = largest("attention.head_count") ?? 0;
  const kvHeads = numbers("attention.head_count_kv");
  const headSize = heads > 0 ? Math.floor(embeddingSize / heads) : 0;
  const name = metadata.get("general.name");
  const fileType = metadata.get("general.file_type");
  return {
    architecture,
    name: typeof name === "string" ? name : undefined,
    fileType: typeof fileType === "number" ? fileType : undefined,
    contextTokens: largest("context_length") ?? 0,
    layers,
    embeddingSize,
    heads,
    kvHeadsByLayer: Array.from({ length: layers }, (_, i) => kvHeads[kvHeads.length > 1 ? i : 0] ?? heads),
    keyLength: largest("attention.key_length") ?? headSize,
    valueLength: largest("attention.value_length") ?? headSize,
    slidingWindowTokens: largest("attention.sliding_window"),
    vocabularyTokens: arrayLengths.get("tokenizer.ggml.tokens") ?? largest("vocab_size") ?? 0,
    hasChatTemplate: typeof metadata.get("tokenizer.chat_template") === "string",
  };
}

function aligned(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}
