// The models of an agent, each kept loaded on its own: one that writes, one that turns texts into vectors, and those that
// classifiers name.
import type { Config } from "./config/schema.ts";
import type { MemoryShape } from "./core/memory-plan.ts";
import type { Clock, Engine, Logger } from "./core/ports.ts";
import type { Readings } from "./core/readings.ts";
import { repackedTypes } from "./device/inventory.ts";
import { ModelLibrary } from "./models/library.ts";
import { ModelKeeper, type ModelKeeperOptions } from "./work/model-keeper.ts";
import { WANTED } from "./work/model-specifier.ts";

export interface ModelKeepers {
  decoder: ModelKeeper;
  /** Of that name; without one the common encoder, undefined when the configuration wants none. */
  encoder: (model?: string) => ModelKeeper | undefined;
  /** In the order they are loaded. */
  all: readonly ModelKeeper[];
}

export interface KeeperRooms extends Pick<ModelKeeperOptions, "isIdle" | "onChange"> {
  config: Config;
  /** Encoders that classifiers name. */
  encoders: readonly string[];
  engine: Engine;
  readings: () => Readings;
  /** The generative model's share of the plan is known: the governor publishes it. */
  onDecoderPlan: NonNullable<ModelKeeperOptions["onPlan"]>;
  clock: Clock;
  log: Logger;
}

/** Sentences are short; a longer context would only cost buffers. */
export const ENCODER_SHAPE: MemoryShape = { contextTokens: 512, batchTokens: 512, sequences: 1 };

export function createModelKeepers(rooms: KeeperRooms): ModelKeepers {
  const { config, log, clock, engine, readings, isIdle, onChange } = rooms;
  const { model, governor } = config;
  const library = new ModelLibrary({ directory: model.dir, catalogFile: model.catalogueFile });
  const common = {
    repackedTypes: repackedTypes(governor.sensorsRoot),
    obtain: (name: string, onProgress: (fraction: number) => void, signal: AbortSignal) =>
      library.obtain(name, { onProgress, onNote: (line) => log.info({ model: name }, line), signal }),
    readings,
    isIdle,
    onChange,
  };
  const keep = (options: Pick<ModelKeeperOptions, "rungs" | "kind" | "wanted" | "unloadAfterMs" | "onPlan">) =>
    new ModelKeeper({ ...common, ...options }, engine, clock, log);
  const wanted = {
    contextTokens: model.contextTokens || WANTED.contextTokens,
    batchTokens: model.batchTokens || WANTED.batchTokens,
    sequences: model.sequences || WANTED.sequences,
  };
  const unloadAfterMs = model.idleUnloadS * 1000;
  const rungs = [model.name, ...model.ladder];
  const named = new Set([model.encoder, ...rooms.encoders].filter((name) => name !== "none"));
  const encoders = new Map(
    [...named].map((name) => [name, keep({ rungs: [name], kind: "encoder", wanted: ENCODER_SHAPE, unloadAfterMs })]),
  );
  const decoder = keep({ rungs, kind: "decoder", wanted, unloadAfterMs, onPlan: rooms.onDecoderPlan });
  return {
    decoder,
    encoder: (name = model.encoder) => encoders.get(name),
    all: [...encoders.values(), decoder],
  };
}
