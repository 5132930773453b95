// The two models of an agent, each kept loaded on its own: one that writes, one that turns texts into vectors.
import type { Config } from "./config/schema.ts";
import type { ModelFile } from "./core/model-file.ts";
import type { Clock, Engine, Logger, ModelSpec } from "./core/ports.ts";
import type { Readings } from "./core/readings.ts";
import { ModelLibrary } from "./models/library.ts";
import { ModelKeeper, type ModelState } from "./work/model-keeper.ts";
import { specifyModel } from "./work/model-specifier.ts";

export interface ModelKeepers {
  decoder: ModelKeeper;
  /** Undefined when the configuration wants none. */
  encoder: ModelKeeper | undefined;
}

export interface KeeperRooms {
  config: Config;
  engine: Engine;
  readings: () => Readings;
  /** The generative model's share of the plan is known: the governor publishes it. */
  onDecoderPlan: (spec: ModelSpec, file: ModelFile) => void;
  onChange: (state: ModelState) => void;
  clock: Clock;
  log: Logger;
}

/** Sentences are short; a longer context would only cost buffers. */
const ENCODER_SHAPE = { contextTokens: 512, batchTokens: 512, sequences: 1 };

export function createModelKeepers(rooms: KeeperRooms): ModelKeepers {
  const { model } = rooms.config;
  const library = new ModelLibrary({ directory: model.dir, catalogFile: model.catalogueFile });
  const keep = (name: string, shape: typeof ENCODER_SHAPE, onPlan: KeeperRooms["onDecoderPlan"]) =>
    new ModelKeeper(
      {
        name,
        specify: async (_, onProgress, signal) => {
          const onNote = (line: string) => rooms.log.info({ model: name }, line);
          const file = await library.obtain(name, { onProgress, onNote, signal });
          const { spec, reason } = specifyModel({ file, configured: shape, readings: rooms.readings() });
          rooms.log.info({ model: name, context_tokens: spec.contextTokens, sequences: spec.sequences }, reason);
          onPlan(spec, file);
          return spec;
        },
        onChange: rooms.onChange,
      },
      rooms.engine,
      rooms.clock,
      rooms.log,
    );
  const { contextTokens, batchTokens, sequences } = model;
  return {
    decoder: keep(model.name, { contextTokens, batchTokens, sequences }, rooms.onDecoderPlan),
    encoder: model.encoder === "none" ? undefined : keep(model.encoder, ENCODER_SHAPE, () => {}),
  };
}
