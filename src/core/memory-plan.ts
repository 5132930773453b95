// How much memory a model takes on this board, and the largest context that fits into what the board has left. Pure.
// The library's own estimate is not used: for Gemma 3 270M at batch 512 it says 559 MB where RSS grew by 25 MB.

import type { Readings } from "./readings.ts";

/** What a GGUF header says about the model, as far as memory depends on it. */
export interface ModelShape {
  architecture: string;
  fileBytes: number;
  /** Tokens the model was trained for; 0 where the file does not say. */
  contextTokens: number;
  embeddingSize: number;
  /** Key-value heads layer by layer; 0 for a layer without attention. */
  kvHeadsByLayer: readonly number[];
  keyLength: number;
  valueLength: number;
  vocabularyTokens: number;
  /** Bytes of the tensors by quantization type. */
  bytesByType: Readonly<Record<string, number>>;
}

/** What is planned: see `Plan`. */
export interface MemoryShape {
  contextTokens: number;
  batchTokens: number;
  sequences: number;
}

export interface MemoryPrediction {
  /** Node and the native library: text of the program (shared with the daemon) and small heaps. */
  runtimeBytes: number;
  /** File-backed: evictable, at the price of reading it again. */
  mappedBytes: number;
  /** Copies of weights in the layout of this CPU's kernels; anonymous. */
  repackedBytes: number;
  /** Tokenizer and vocabulary. */
  vocabularyBytes: number;
  cacheBytes: number;
  /** Activations, logits and samplers, as they grow with the first answers. */
  computeBytes: number;
  /** What measuring has taught: see `learnMemory`. */
  correctionBytes: number;
  /** Of all this, what goes when the model goes. */
  ownBytes: number;
  /** Other models of the process. */
  othersBytes: number;
  rssBytes: number;
}

export interface MemoryPlan extends MemoryShape {
  predictedRssBytes: number;
  fits: boolean;
  reason: string;
}

export interface MemoryInput {
  model: ModelShape;
  kind: "decoder" | "encoder";
  /** Types of tensors that this CPU's kernels repack; empty on Cortex-A53 and A72. */
  repackedTypes: readonly string[];
  /** What other models take in the same process, which is Node and the library once for all of them. */
  othersBytes?: number;
  /** What the engine's process may have in all: see `memoryBudget`. */
  budgetBytes: number;
  /** The most that is asked for. */
  wanted: MemoryShape;
  /** From `learnMemory`; 0 or undefined before the first load. */
  correctionBytes?: number;
}

export type MemoryReadings = Pick<Readings, "memoryTotalBytes" | "memoryAvailableBytes" | "groupMemory" | "child">;

const MIB = 1024 * 1024;
// Fitted to 16 loads of SmolLM2 135M and Gemma 3 270M, context 256 to 4096, batch 16 to 512, 1 to 4 sequences, measured on
// x86-64 on 2026-11-24 after answers that filled 0.7 of the context: off by 3 % at the most for the first and 8 % for the second.
/** Program text of Node and the library, mapped and mostly shared with the daemon. */
export const SHARED_RUNTIME_BYTES = 47 * MIB;
/** Heaps of Node and the library with any model. */
const PRIVATE_RUNTIME_BYTES = 50 * MIB;
/** The vocabulary exists in the native tokenizer and in the JavaScript heap. */
const BYTES_A_VOCABULARY_TOKEN = 433;
/** Each sequence that writes holds its samplers and candidates. */
const SEQUENCE_BYTES = 3.4 * MIB;
const SEQUENCE_BYTES_A_VOCABULARY_TOKEN = 118;
const ACTIVATIONS_A_TOKEN = 4;
const CONTEXT_RUNGS = [32_768, 16_384, 8192, 4096, 2048, 1024, 512, 256];
const BATCH_RUNGS = [512, 256, 128, 64, 32, 16];
/** A smaller context holds no question worth the name. */
export const LEAST_CONTEXT_TOKENS = 256;
/** The key-value cache is made in cells of this many tokens. */
const CACHE_CELL_TOKENS = 256;
const LEAST_RESERVE_BYTES = 32 * MIB;
const RESERVE_SHARE = 0.05;
/** What the daemon holds for itself at the least: anonymous memory of 37 MiB with an outside broker, 41 with its own. */
const DAEMON_BYTES = 36 * MIB;
/** One wrong measurement (a page cache that was cold) shall not unsettle the plan. */
const LEARNING_WEIGHT = 0.5;

/** Key-value cache at 16 bits. The engine keeps the cache of windowed layers in full, so a window spares nothing. */
export function cacheBytesPerToken(model: ModelShape): number {
  const heads = model.kvHeadsByLayer.reduce((sum, count) => sum + count, 0);
  return heads * (model.keyLength + model.valueLength) * 2;
}

export function predictMemory(
  input: Omit<MemoryInput, "budgetBytes" | "wanted">,
  shape: MemoryShape,
): MemoryPrediction {
  const { model, kind, repackedTypes, othersBytes = 0, correctionBytes = 0 } = input;
  const cells = Math.ceil(shape.contextTokens / CACHE_CELL_TOKENS) * CACHE_CELL_TOKENS * shape.sequences;
  const cacheBytes = kind === "encoder" ? 0 : cells * cacheBytesPerToken(model);
  const repackedBytes = repackedTypes.reduce((sum, type) => sum + (model.bytesByType[type] ?? 0), 0);
  const vocabularyBytes = model.vocabularyTokens * BYTES_A_VOCABULARY_TOKEN;
  const computeBytes = computeBytesOf(model, shape);
  const runtimeBytes = SHARED_RUNTIME_BYTES + PRIVATE_RUNTIME_BYTES;
  const parts = {
    mappedBytes: model.fileBytes,
    repackedBytes,
    vocabularyBytes,
    cacheBytes,
    computeBytes,
    correctionBytes,
  };
  const ownBytes = Math.max(
    0,
    Object.values(parts).reduce((total, bytes) => total + bytes, 0),
  );
  return { ...parts, runtimeBytes, ownBytes, othersBytes, rssBytes: runtimeBytes + othersBytes + ownBytes };
}

function computeBytesOf(model: ModelShape, shape: MemoryShape): number {
  const activations = shape.batchTokens * model.embeddingSize * 4 * ACTIVATIONS_A_TOKEN;
  const sequence = SEQUENCE_BYTES + model.vocabularyTokens * SEQUENCE_BYTES_A_VOCABULARY_TOKEN;
  return activations + shape.sequences * sequence;
}

/** The largest plan within the budget: spare sequences go first, then context, then batch. */
export function planMemory(input: MemoryInput): MemoryPlan {
  const { budgetBytes, model, wanted } = input;
  const limit = model.contextTokens > 0 ? Math.min(wanted.contextTokens, model.contextTokens) : wanted.contextTokens;
  const contexts = [limit, ...CONTEXT_RUNGS.filter((tokens) => tokens < limit && tokens >= LEAST_CONTEXT_TOKENS)];
  const batches = [wanted.batchTokens, ...BATCH_RUNGS.filter((tokens) => tokens < wanted.batchTokens)];
  const shapes: MemoryShape[] = [];
  for (let sequences = wanted.sequences; sequences > 1; sequences--) {
    shapes.push({ contextTokens: limit, batchTokens: wanted.batchTokens, sequences });
  }
  for (const contextTokens of contexts) shapes.push({ contextTokens, batchTokens: wanted.batchTokens, sequences: 1 });
  const least = contexts[contexts.length - 1] ?? limit;
  for (const batchTokens of batches) shapes.push({ contextTokens: least, batchTokens, sequences: 1 });

  let smallest: { shape: MemoryShape; bytes: number } | undefined;
  for (const shape of shapes) {
    const bytes = predictMemory(input, shape).rssBytes;
    if (bytes <= budgetBytes)
      return { ...shape, predictedRssBytes: bytes, fits: true, reason: fitReason(shape, input, bytes) };
    smallest = { shape, bytes };
  }
  const { shape, bytes } = smallest ?? { shape: wanted, bytes: Infinity };
  const reason = `even ${shape.contextTokens} tokens of context need ${mib(bytes)} MiB, ${mib(budgetBytes)} MiB are there`;
  return { ...shape, predictedRssBytes: bytes, fits: false, reason };
}

function fitReason(shape: MemoryShape, { wanted, budgetBytes }: MemoryInput, bytes: number): string {
  const less =
    shape.contextTokens < wanted.contextTokens ||
    shape.sequences < wanted.sequences ||
    shape.batchTokens < wanted.batchTokens;
  const need = `${mib(bytes)} of ${mib(budgetBytes)} MiB`;
  return less
    ? `${shape.contextTokens} tokens of context, ${shape.sequences} at once: as much as fits, ${need}`
    : `${shape.contextTokens} tokens of context, ${shape.sequences} at once: as configured, ${need}`;
}

const mib = (bytes: number) => (bytes / MIB).toFixed(0);

/**
 * What the engine's process may grow to: what the kernel can give (the board's and the group's limits) with what the
 * process already holds, less a reserve (a part of it with `reserveFactor`) for the neighbours. MemAvailable counts mapped
 * files as available already, so only the anonymous part of the process comes on top; a group's headroom does not, unless
 * the pages are charged to another group (a warm cache): then they would count twice, so the group's limit less the daemon
 * is the most.
 */
export function memoryBudget(readings: MemoryReadings, reserveFactor = 1): number {
  const { memoryTotalBytes, memoryAvailableBytes, groupMemory, child } = readings;
  const reserve = (total: number) => Math.max(LEAST_RESERVE_BYTES, total * RESERVE_SHARE) * reserveFactor;
  const board = memoryAvailableBytes + (child?.anonymousBytes ?? 0) - reserve(memoryTotalBytes);
  if (!groupMemory) return Math.max(0, board);
  const { headroomBytes, limitBytes } = groupMemory;
  const group = Math.min(headroomBytes + (child?.rssBytes ?? 0), limitBytes - DAEMON_BYTES) - reserve(limitBytes);
  return Math.max(0, Math.min(board, group));
}

/**
 * The new correction after a load that was predicted with `correctionBytes`. Measured right after the load, when what grows
 * with the first answers is not there yet: here both models were within 6 MiB of the fit then.
 */
export function learnMemory(prediction: MemoryPrediction, rssAfterLoadBytes: number): number {
  const error = rssAfterLoadBytes - (prediction.rssBytes - prediction.computeBytes);
  return prediction.correctionBytes + LEARNING_WEIGHT * error;
}
