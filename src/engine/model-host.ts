// Holds the loaded models inside the child and turns calls of the protocol into work on them.
import { getLlama, type Llama, LlamaLogLevel } from "node-llama-cpp";
import { PipitError } from "../core/errors.ts";
import type { ThreadPlan } from "../core/plan.ts";
import type {
  Embeddings,
  EngineReading,
  GenerateJob,
  LoadedModel,
  ModelSpec,
  Piece,
  ScoreJob,
  Step,
  Turn,
} from "../core/ports.ts";
import { BatchSteering } from "./batch-steering.ts";
import { Decoder } from "./decoder.ts";
import { Encoder } from "./encoder.ts";
import { ownMemory } from "./process-memory.ts";
import type { Argument, CallName } from "./protocol.ts";

/** What a call may report before its result. */
export interface CallEvents {
  signal: AbortSignal;
  onPiece(piece: Piece): void;
  onProgress(fraction: number): void;
}

export class ModelHost {
  readonly #onStep: (step: Step) => void;
  /** One library for all models; a promise, so that two models that load at once share it. */
  #llama: Promise<Llama> | undefined;
  #batches: BatchSteering | undefined;
  #steering: { threads: ThreadPlan; restRatio: number } | undefined;
  #decoder: Decoder | undefined;
  /** By file. */
  readonly #encoders = new Map<string, Encoder>();

  constructor(onStep: (step: Step) => void) {
    this.#onStep = onStep;
  }

  setThreads(threads: ThreadPlan, restRatio: number): void {
    this.#steering = { threads, restRatio };
    this.#batches?.setThreads(threads, restRatio);
  }

  async call(name: CallName, argument: unknown, events: CallEvents): Promise<unknown> {
    switch (name) {
      case "load":
        return this.#load(argument as ModelSpec, events);
      case "unload":
        return this.#unload(argument as Argument<"unload">);
      case "generate":
        await this.#requireDecoder().generate(argument as GenerateJob, events.signal, events.onPiece);
        return null;
      case "score":
        return this.#requireDecoder().score(argument as ScoreJob, events.signal);
      case "embed":
        return this.#embed(argument as Argument<"embed">, events.signal);
      case "readout":
        return this.#requireDecoder().readout(argument as string[], events.signal);
      case "tokenize":
        return [...this.#requireDecoder().tokenize(argument as Turn[])];
      case "measure":
        return this.#measure();
    }
  }

  async #load(spec: ModelSpec, { onProgress }: CallEvents): Promise<LoadedModel> {
    const startedMs = performance.now();
    const { llama, batches } = await this.#open(spec.maxThreads);
    const same = spec.kind === "decoder" && this.#decoder?.path === spec.path ? this.#decoder : undefined;
    if (same) this.#decoder = undefined;
    else await this.#unload(spec);
    const model = same
      ? await same.rebuilt(spec)
      : await (spec.kind === "decoder" ? Decoder : Encoder).load(llama, spec, batches, onProgress);
    if (model instanceof Decoder) this.#decoder = model;
    else this.#encoders.set(spec.path, model);
    return {
      name: spec.name,
      kind: spec.kind,
      contextTokens: model.contextTokens,
      trainContextTokens: model.trainContextTokens,
      vocabularyTokens: model instanceof Decoder ? model.vocabularyTokens : 0,
      loadMs: performance.now() - startedMs,
      memory: ownMemory(),
    };
  }

  async #open(maxThreads: number): Promise<{ llama: Llama; batches: BatchSteering }> {
    this.#llama ??= getLlama({
      gpu: false,
      build: "never",
      progressLogs: false,
      maxThreads,
      logLevel: LlamaLogLevel.error,
    });
    const llama = await this.#llama;
    if (this.#batches === undefined) {
      const { threads, restRatio } = this.#steering ?? {
        threads: { prefill: maxThreads, decode: maxThreads },
        restRatio: 0,
      };
      this.#batches = new BatchSteering(llama, threads, this.#onStep);
      this.#batches.setThreads(threads, restRatio);
    }
    // A context can only be lowered below the limit at its creation: raise it for the moment of creating.
    llama.maxThreads = maxThreads;
    return { llama, batches: this.#batches };
  }

  #embed({ texts, options }: Argument<"embed">, signal: AbortSignal): Promise<Embeddings> {
    const { path, cut = false } = options;
    const encoder = path === undefined ? this.#encoders.values().next().value : this.#encoders.get(path);
    if (encoder) return encoder.embed(texts, cut, signal);
    throw new PipitError("transient", "model_unavailable", "no such encoder is loaded");
  }

  async #unload({ kind, path = "" }: Argument<"unload">): Promise<null> {
    const model = kind === "decoder" ? this.#decoder : this.#encoders.get(path);
    if (kind === "decoder") this.#decoder = undefined;
    else this.#encoders.delete(path);
    await model?.dispose();
    return null;
  }

  #requireDecoder(): Decoder {
    if (this.#decoder) return this.#decoder;
    throw new PipitError("transient", "model_unavailable", "no generative model is loaded");
  }

  #measure(): EngineReading {
    const { userCPUTime, systemCPUTime, involuntaryContextSwitches, majorPageFault } = process.resourceUsage();
    return {
      memory: ownMemory(),
      cpuMs: (userCPUTime + systemCPUTime) / 1000,
      involuntarySwitches: involuntaryContextSwitches,
      majorFaults: majorPageFault,
    };
  }
}
