// Classifiers in this process, without a broker: for `pipit eval` and `pipit classifier`. Loads what the configuration
// names, keeps heads where the agent keeps them, and puts everything back.
import { join } from "node:path";
import { classifiersOf } from "../classification.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import type { ClassifierDefinition } from "../core/classifier.ts";
import { systemClock } from "../core/clock.ts";
import { PipitError } from "../core/errors.ts";
import type { HeadStore } from "../core/head-store.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Engine, ModelSpec } from "../core/ports.ts";
import { freeThreads } from "../core/thread-limits.ts";
import { topicsOf } from "../core/topics.ts";
import { ChildEngine } from "../engine/child-engine.ts";
import { createLogger } from "../logger.ts";
import { FileHeadStore } from "../models/head-store.ts";
import { ModelLibrary } from "../models/library.ts";
import { Classifiers } from "../work/classifiers.ts";
import { DecoderClassifier } from "../work/decoder-classifier.ts";
import { specifyModel } from "../work/model-specifier.ts";
import { routesOf } from "../work/routes.ts";
import { readBoard } from "./checks.ts";
import type { CommandContext } from "./command.ts";

/** Which models are loaded: `head` the encoder, `decoder` the generative model, `cascade` both. */
export type PathChoice = "head" | "decoder" | "cascade";

export interface OpenedClassifiers {
  classifiers: Classifiers;
  definitions: ClassifierDefinition[];
  store: HeadStore;
  /** Names of the loaded models. */
  models: string[];
  close(): Promise<void>;
}

/**
 * What the commands need; tests give another one. `names`: classifiers whose encoders are loaded, every one when left out;
 * the common encoder for none.
 */
export type OpenClassifiers = (
  context: CommandContext,
  path: PathChoice | "none",
  names?: readonly string[],
) => Promise<OpenedClassifiers>;

/** A sentence is short, a few-shot page for the decoder is not. */
const SHAPES = {
  encoder: { contextTokens: 512, batchTokens: 512, sequences: 1 },
  decoder: { contextTokens: 2048, batchTokens: 64, sequences: 1 },
};

export const openLocally: OpenClassifiers = async (context, path, names) => {
  const { config } = loadConfig({ env: context.env, args: context.values });
  const log = await createLogger({ ...config.log, level: "error" }, context.isTty);
  const topics = topicsOf(config.device.baseTopic, config.device.id);
  const definitions = classifiersOf(config, routesOf(topics, config));
  const store = new FileHeadStore(join(config.state.dir, "heads"), log);
  const engine = new ChildEngine({ nice: config.governor.nice }, {}, log, systemClock);
  const load = (kind: ModelSpec["kind"], name: string) => loadInto(engine, config, kind, name, context.signal);
  const encoders = new Map<string, ModelFile>();
  let decoder: ModelFile | undefined;
  try {
    if (path !== "none") await engine.start();
    if (path === "head" || path === "cascade") {
      for (const name of encodersOf(definitions, config.model.encoder, names)) {
        encoders.set(name, await load("encoder", name));
      }
    }
    if (path === "decoder" || path === "cascade") decoder = await load("decoder", config.model.name);
  } catch (error) {
    await engine.stop();
    throw error;
  }
  const classifiers = new Classifiers(definitions, {
    engine,
    store,
    clock: systemClock,
    log,
    encoder: (name = config.model.encoder) => encoders.get(name),
    decoder: new DecoderClassifier(engine),
    decoderModel: () => decoder,
  });
  const models = [...encoders.values(), ...(decoder ? [decoder] : [])].map(({ name }) => name);
  return { classifiers, definitions, store, models, close: () => engine.stop() };
};

function encodersOf(
  definitions: readonly ClassifierDefinition[],
  common: string,
  names: readonly string[] | undefined,
): Set<string> {
  const wanted = definitions.filter(({ name }) => names?.includes(name) ?? true);
  return new Set(wanted.length === 0 ? [common] : wanted.map(({ model }) => model ?? common));
}

async function loadInto(
  engine: Engine,
  config: Config,
  kind: ModelSpec["kind"],
  name: string,
  signal: AbortSignal,
): Promise<ModelFile> {
  const library = new ModelLibrary({ directory: config.model.dir, catalogFile: config.model.catalogueFile });
  const file = await library.obtain(name, { signal });
  if (file.kind !== kind) throw new PipitError("config", "wrong_model", `model ${name} is no ${kind}`);
  const readings = await readBoard({ config });
  const { spec } = specifyModel({ file, configured: SHAPES[kind], readings });
  await engine.load(spec);
  // Beside neighbours more would fight over the cores: 72 sentences took 90 s here at a load of 30 with both of 2 cores.
  const threads = Math.max(1, freeThreads(readings, readings.foreignCores, config.governor.courtesy));
  engine.setThreads({ prefill: threads, decode: threads });
  return file;
}
