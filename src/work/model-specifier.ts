// From the name of a model to numbers that fit this board: the verified file, its header, the budget, the plan.
import { PipitError } from "../core/errors.ts";
import { type MemoryShape, memoryBudget, planMemory } from "../core/memory-plan.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { ModelSpec } from "../core/ports.ts";
import type { Readings } from "../core/readings.ts";

/** What is planned for when the configuration leaves it open and memory allows. */
export const WANTED: MemoryShape = { contextTokens: 2048, batchTokens: 64, sequences: 2 };

/** Of an encoder: sentences are short, and a longer context would only cost buffers. */
export const ENCODER_SHAPE: MemoryShape = { contextTokens: 512, batchTokens: 512, sequences: 1 };

export interface SpecifyInput {
  file: ModelFile;
  /** 0 leaves the number to the plan. */
  configured: MemoryShape;
  readings: Readings;
}

/** Throws a `transient` PipitError `memory_short` when not even the smallest context fits: it is not tried then. */
export function specifyModel({ file, configured, readings }: SpecifyInput): {
  spec: ModelSpec;
  reason: string;
} {
  const wanted: MemoryShape = {
    contextTokens: configured.contextTokens || WANTED.contextTokens,
    batchTokens: configured.batchTokens || WANTED.batchTokens,
    sequences: configured.sequences || WANTED.sequences,
  };
  const { name, path, kind, shape, prefix } = file;
  const budgetBytes = memoryBudget(readings);
  const plan = planMemory({ model: shape, kind, repackedTypes: [], budgetBytes, wanted });
  if (!plan.fits) throw new PipitError("transient", "memory_short", `model ${name} does not fit: ${plan.reason}`);
  const { contextTokens, batchTokens, sequences, reason } = plan;
  const maxThreads = Math.max(1, Math.floor(readings.affinityCores));
  const spec = { name, path, kind, contextTokens, batchTokens, sequences, maxThreads };
  return { spec: { ...spec, ...(prefix !== undefined && { prefix }) }, reason };
}
