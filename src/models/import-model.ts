// Turns a Hugging Face directory of a BERT or DistilBERT model into one GGUF file: the trunk for llama.cpp, and behind it,
// where the model has one, the classification head that we apply ourselves. Streams in pieces of a megabyte; the same
// directory gives the same bytes on every machine.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { readBertConfig, type BertConfig } from "./bert-config.ts";
import { type HeadTensors, mapHead, mapTrunk, type MappedTensor } from "./bert-tensors.ts";
import { badModelFile } from "./bounded-reader.ts";
import { type GgufEntry, prepareGguf, type TensorToWrite } from "./gguf-writer.ts";
import { HEAD_KEYS } from "./classification-head.ts";
import { SafetensorsFile } from "./safetensors.ts";
import type { WeightType } from "./weight-encoding.ts";
import { PREFIX_KEY } from "./text-prefix.ts";
import { IDEOGRAPHS_KEY, readWordPieces, type WordPieces } from "./word-pieces.ts";

export const IMPORT_TYPES = ["f16", "q8_0"] as const;
export type ImportType = (typeof IMPORT_TYPES)[number];

export interface ImportJob {
  directory: string;
  /** Written from its beginning; the caller checks the result and gives it its name. */
  target: string;
  /** Undefined takes F16 for a model with a head, whose probabilities suffer from Q8_0 (0.18 seen), else Q8_0. */
  type: ImportType | undefined;
  /** What shall stand before every text; undefined takes what the directory says. */
  prefix?: string | undefined;
  onProgress: (doneBytes: number, totalBytes: number) => void;
  /** Told how large the result will be before anything is written; may throw. */
  onSize?: (bytes: number) => Promise<void>;
  signal?: AbortSignal | undefined;
}

/** Files of a directory that an import reads; the first two must be there, and one of the vocabularies. */
export const IMPORT_FILES = [
  "config.json",
  "model.safetensors",
  "vocab.txt",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "1_Pooling/config.json",
  "modules.json",
  "config_sentence_transformers.json",
] as const;

const GGUF_FILE_TYPE: Record<ImportType, number> = { f16: 1, q8_0: 7 };
const POOLING_NUMBER = { mean: 1, cls: 2 };

/** @throws PipitError `bad_model_file` (kind `config`) naming the file and its fault. */
export async function importModel(job: ImportJob): Promise<void> {
  const config = await readBertConfig(job.directory);
  const pieces = await readWordPieces(job.directory, config.vocabularyTokens);
  const path = join(job.directory, "model.safetensors");
  const source = await SafetensorsFile.open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    const advice = "weights in several files or of PyTorch (.bin) must be saved as one .safetensors file first";
    throw badModelFile(job.directory, `has no model.safetensors; ${advice}`);
  });
  try {
    const head = mapHead(source, config);
    const type = job.type ?? (head === undefined ? "q8_0" : "f16");
    const tensors = mapTrunk(source, config).map((tensor) => toWrite(source, tensor, type));
    const appendix = head && { count: headSize(head, config), weights: () => readAll(source, head.sources) };
    const metadata = describe({ ...config, prefix: job.prefix ?? config.prefix }, pieces, type, head);
    const gguf = prepareGguf({ metadata, tensors, appendix });
    await job.onSize?.(gguf.totalBytes);
    const file = await open(job.target, "w");
    try {
      await gguf.write(file, (done) => job.onProgress(done, gguf.totalBytes), job.signal);
    } finally {
      await file.close();
    }
  } finally {
    await source.close();
  }
}

// llama.cpp wants position and token-type tables, norms and biases in F32 whatever the rest is in.
function toWrite(file: SafetensorsFile, { source, target, shape }: MappedTensor, type: ImportType): TensorToWrite {
  const plain = shape.length === 1 || target === "position_embd.weight" || target === "token_types.weight";
  const quantized: WeightType = type === "q8_0" && (shape.at(-1) ?? 0) % 32 === 0 ? "Q8_0" : "F16";
  return { name: target, type: plain ? "F32" : quantized, shape: shape.toReversed(), weights: () => file.read(source) };
}

async function* readAll(file: SafetensorsFile, names: readonly string[]): AsyncGenerator<Float32Array> {
  for (const name of names) yield* file.read(name);
}

/** Numbers in the head's two layers, biases included. */
function headSize(head: HeadTensors, { hiddenSize }: BertConfig): number {
  return (hiddenSize + 1) * (hiddenSize + head.outputs);
}

function describe(
  config: BertConfig,
  pieces: WordPieces,
  type: ImportType,
  head: HeadTensors | undefined,
): [string, GgufEntry][] {
  const u32 = (value: number): GgufEntry => ({ type: "u32", value });
  const bool = (value: boolean): GgufEntry => ({ type: "bool", value });
  const text = (value: string): GgufEntry => ({ type: "text", value });
  const pooling = head === undefined ? (config.pooling ?? "mean") : "cls";
  const { ids } = pieces;
  const mask: [string, GgufEntry][] = ids.mask === undefined ? [] : [["tokenizer.ggml.mask_token_id", u32(ids.mask)]];
  return [
    ["general.architecture", text("bert")],
    ["general.file_type", u32(GGUF_FILE_TYPE[type])],
    ["general.quantization_version", u32(2)],
    ["bert.context_length", u32(config.positions)],
    ["bert.embedding_length", u32(config.hiddenSize)],
    ["bert.feed_forward_length", u32(config.feedForward)],
    ["bert.block_count", u32(config.layers)],
    ["bert.attention.head_count", u32(config.heads)],
    ["bert.attention.layer_norm_epsilon", { type: "f32", value: config.epsilon }],
    ["bert.attention.causal", bool(false)],
    ["bert.pooling_type", u32(POOLING_NUMBER[pooling])],
    ["tokenizer.ggml.model", text("bert")],
    ["tokenizer.ggml.pre", text("default")],
    ["tokenizer.ggml.tokens", { type: "texts", value: pieces.tokens }],
    ["tokenizer.ggml.token_type", { type: "i32s", value: pieces.types }],
    ["tokenizer.ggml.token_type_count", u32(config.tokenTypes)],
    ["tokenizer.ggml.bos_token_id", u32(ids.cls)],
    ["tokenizer.ggml.cls_token_id", u32(ids.cls)],
    // The format's own spelling.
    ["tokenizer.ggml.seperator_token_id", u32(ids.sep)],
    ["tokenizer.ggml.unknown_token_id", u32(ids.unk)],
    ["tokenizer.ggml.padding_token_id", u32(ids.pad)],
    ...mask,
    ["tokenizer.ggml.normalizer.lowercase", bool(pieces.lowercase)],
    ["tokenizer.ggml.normalizer.strip_accents", bool(pieces.stripAccents)],
    ...(pieces.ideographs ? [] : ([[IDEOGRAPHS_KEY, bool(false)]] as [string, GgufEntry][])),
    ...(config.prefix === undefined ? [] : ([[PREFIX_KEY, text(config.prefix)]] as [string, GgufEntry][])),
    ...(head === undefined ? [] : describeHead(config, head)),
  ];
}

function describeHead(config: BertConfig, head: HeadTensors): [string, GgufEntry][] {
  const labels = Array.from({ length: head.outputs }, (_, i) => config.labels.get(i) ?? `LABEL_${i}`);
  return [
    [HEAD_KEYS.activation, { type: "text", value: head.activation }],
    [HEAD_KEYS.labels, { type: "text", value: JSON.stringify(labels) }],
    [HEAD_KEYS.multiLabel, { type: "bool", value: config.multiLabel }],
  ];
}
