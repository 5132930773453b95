// Classifiers in this process, without a broker: for `pipit eval` and `pipit classifier`. Loads what the configuration
// names, keeps heads where the agent keeps them, and puts everything back.
import { join } from "node:path";
import { readClassifierFolder } from "../config/classifier-files.ts";
import { loadConfig } from "../config/load.ts";
import type { ClassifierDefinition } from "../core/classifier.ts";
import { systemClock } from "../core/clock.ts";
import type { HeadStore } from "../core/head-store.ts";
import type { Engine, ModelSpec } from "../core/ports.ts";
import { ChildEngine } from "../engine/child-engine.ts";
import { createLogger } from "../logger.ts";
import { FileHeadStore } from "../models/head-store.ts";
import { ModelLibrary } from "../models/library.ts";
import { Classifiers } from "../work/classifiers.ts";
import { DecoderClassifier } from "../work/decoder-classifier.ts";
import { specifyModel } from "../work/model-specifier.ts";
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

/** What the commands need; tests give another one. */
export type OpenClassifiers = (context: CommandContext, path: PathChoice | "none") => Promise<OpenedClassifiers>;

/** A sentence is short, a few-shot page for the decoder is not. */
const SHAPES = {
  encoder: { contextTokens: 512, batchTokens: 512, sequences: 1 },
  decoder: { contextTokens: 2048, batchTokens: 64, sequences: 1 },
};

export const openLocally: OpenClassifiers = async (context, path) => {
  const { config } = loadConfig({ env: context.env, args: context.values });
  const log = await createLogger({ ...config.log, level: "error" }, context.isTty);
  const folder = join(config.state.dir, "classifiers");
  const definitions = readClassifierFolder(folder);
  const store = new FileHeadStore(join(config.state.dir, "heads"), log);
  const engine = new ChildEngine({ nice: config.governor.nice }, {}, log, systemClock);
  const loaded: Partial<Record<ModelSpec["kind"], string>> = {};
  const load = async (kind: ModelSpec["kind"], name: string) => {
    const library = new ModelLibrary({ directory: config.model.dir, catalogFile: config.model.catalogueFile });
    const file = await library.obtain(name, { signal: context.signal });
    const readings = await readBoard({ config });
    const { spec } = specifyModel({ file, configured: SHAPES[kind], readings });
    await engine.load(spec);
    const cores = Math.max(1, Math.floor(readings.affinityCores));
    engine.setThreads({ prefill: cores, decode: cores });
    loaded[kind] = spec.name;
  };
  try {
    if (path !== "none") await engine.start();
    if (path === "head" || path === "cascade") await load("encoder", config.model.encoder);
    if (path === "decoder" || path === "cascade") await load("decoder", config.model.name);
  } catch (error) {
    await engine.stop();
    throw error;
  }
  const classifiers = classifiersOn(engine, store, loaded, definitions, log);
  return { classifiers, definitions, store, models: Object.values(loaded), close: () => engine.stop() };
};

function classifiersOn(
  engine: Engine,
  store: HeadStore,
  loaded: Partial<Record<ModelSpec["kind"], string>>,
  definitions: ClassifierDefinition[],
  log: ConstructorParameters<typeof ChildEngine>[2],
): Classifiers {
  return new Classifiers(definitions, {
    engine,
    store,
    clock: systemClock,
    log,
    encoder: () => loaded.encoder,
    decoder: new DecoderClassifier(engine),
    decoderLoaded: () => loaded.decoder !== undefined,
  });
}
