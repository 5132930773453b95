// Keeps a model loaded: finds the files of its ladder (the wanted model, then smaller ones), lets the ladder choose what the
// memory allows, loads it, and tries again when a file cannot be had. Questions that need the model wait here while it
// loads or wakes up, and are told why when there is none.
import { PipitError, toError } from "../core/errors.ts";
import type { LadderDecision, Rung } from "../core/ladder.ts";
import type { MemoryShape } from "../core/memory-plan.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Clock, Engine, LoadedModel, Logger, ModelSpec } from "../core/ports.ts";
import type { Readings } from "../core/readings.ts";
import { ModelLadder } from "./model-ladder.ts";

/** Wait before a failed model is tried again: a fetch may have finished, memory may have come back. */
const RETRY_MS = 30_000;
const WORDS = { decoder: "a generative model", encoder: "an encoder" } as const;
/** As a rung: nothing is loaded, and questions are refused. */
const NOTHING = "none";

export type ModelState =
  | { state: "loading"; name: string; fraction: number }
  | { state: "ready"; name: string; model: LoadedModel; file: ModelFile }
  | { state: "unloaded"; name: string; reason: string }
  | { state: "failed"; name: string; error: Error };

export interface ModelKeeperOptions {
  /** The wanted model first, then what to step down to; `none` unloads. */
  rungs: readonly string[];
  kind: ModelSpec["kind"];
  /** The most that is asked for. */
  wanted: MemoryShape;
  /** Types of tensors that this CPU's kernels repack. */
  repackedTypes: readonly string[];
  /** Unload after so long without a question; 0 never. */
  unloadAfterMs: number;
  /** Finds, verifies and, if need be, fetches the file. */
  obtain: (name: string, onProgress: (fraction: number) => void, signal: AbortSignal) => Promise<ModelFile>;
  readings: () => Readings;
  isIdle: () => boolean;
  /** Memory has been planned for a model that is about to be loaded; `shortage` says why it is less than wanted. */
  onPlan?: (spec: ModelSpec, file: ModelFile, rung: number, shortage: string | undefined) => void;
  /** Every change of state, for `…/state` and `…/event`. */
  onChange: (state: ModelState) => void;
}

export class ModelKeeper {
  readonly #options: ModelKeeperOptions;
  readonly #engine: Pick<Engine, "load" | "unload">;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** Files of the rungs that could be had, by name. */
  readonly #files = new Map<string, ModelFile>();
  #ladder: ModelLadder | undefined;
  #state: ModelState;
  #loop: Promise<void> | undefined;
  #waiters = new Set<() => void>();

  constructor(options: ModelKeeperOptions, engine: Pick<Engine, "load" | "unload">, clock: Clock, log: Logger) {
    this.#options = options;
    this.#engine = engine;
    this.#clock = clock;
    this.#log = log;
    this.#state = { state: "loading", name: options.rungs[0] ?? NOTHING, fraction: 0 };
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Begins loading and returns at once. */
  start(): void {
    this.#loop ??= this.#begin();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new PipitError("transient", "stopping", "the agent is stopping"));
    await this.#loop;
    await this.#ladder?.stop();
  }

  /** The engine's process was killed from outside, perhaps for want of memory. */
  noteKill(): void {
    this.#ladder?.noteKill();
  }

  /** Name of the loaded model; waits while it loads or wakes up. Rejects `model_unavailable` when there is none. */
  async whenReady(signal: AbortSignal): Promise<string> {
    await this.#ladder?.wake();
    for (;;) {
      const now = this.#state;
      if (now.state === "ready") return now.name;
      if (now.state !== "loading") {
        const why = now.state === "failed" ? now.error.message : now.reason;
        throw new PipitError("transient", "model_unavailable", `model ${now.name}: ${why}`);
      }
      await this.#changed(signal);
    }
  }

  /** Resolves when the model is ready, cannot be had for now, or the keeper stops. */
  async whenSettled(): Promise<void> {
    const { signal } = this.#stopping;
    while (this.#state.state === "loading" && !signal.aborted) await this.#changed(signal).catch(() => {});
  }

  /** Until the first rung's file is here; the ladder takes over then. Smaller rungs that cannot be had are left out. */
  async #begin(): Promise<void> {
    const { rungs } = this.#options;
    const [wanted = NOTHING] = rungs;
    while (wanted !== NOTHING && !(await this.#obtain(wanted))) {
      await this.#pause();
      if (this.#stopping.signal.aborted) return;
    }
    for (const name of rungs.slice(1)) if (name !== NOTHING) await this.#obtain(name);
    if (this.#stopping.signal.aborted) return;
    const { readings, isIdle, unloadAfterMs } = this.#options;
    this.#ladder = new ModelLadder({
      rungs: rungs.filter((name) => name === NOTHING || this.#files.has(name)).map((name) => this.#rung(name)),
      readings,
      isIdle,
      unloadAfterMs,
      change: (decision) => this.#change(decision),
      onChange: (decision, state) => state === "failed" && this.#failed(decision),
      clock: this.#clock,
      log: this.#log,
    });
    this.#ladder.start();
  }

  async #obtain(name: string): Promise<boolean> {
    const { signal } = this.#stopping;
    try {
      const onProgress = (fraction: number) => this.#set({ state: "loading", name, fraction });
      const file = await this.#options.obtain(name, onProgress, signal);
      const { kind } = this.#options;
      if (file.kind !== kind)
        throw new PipitError("config", "wrong_model", `it is ${WORDS[file.kind]}, not ${WORDS[kind]}`);
      this.#files.set(name, file);
      return true;
    } catch (thrown) {
      if (signal.aborted) return false;
      const error = toError(thrown);
      this.#log.error({ model: name, err: error }, "the model cannot be had; trying again later");
      this.#set({ state: "failed", name, error });
      return false;
    }
  }

  #rung(name: string): Rung {
    const file = this.#files.get(name);
    if (file === undefined) return { name };
    const { wanted, kind, repackedTypes } = this.#options;
    return { name, memory: { model: file.shape, kind, repackedTypes, wanted } };
  }

  async #change({ name, plan, rung, reason }: LadderDecision): Promise<number | undefined> {
    const { kind, onPlan, readings } = this.#options;
    const file = this.#files.get(name);
    if (plan === undefined || file === undefined) {
      if (this.#state.state === "ready") await this.#engine.unload(kind, this.#state.file.path);
      this.#set({ state: "unloaded", name, reason });
      return undefined;
    }
    const { contextTokens, batchTokens, sequences } = plan;
    const maxThreads = Math.max(1, Math.floor(readings().affinityCores));
    const { prefix } = file;
    const spec: ModelSpec = {
      ...{ name: file.name, path: file.path, kind, contextTokens, batchTokens, sequences, maxThreads },
      ...(prefix !== undefined && { prefix }),
    };
    const { wanted } = this.#options;
    const most = Math.min(wanted.contextTokens, file.shape.contextTokens || Infinity);
    const short = rung > 0 || contextTokens < most || sequences < wanted.sequences || batchTokens < wanted.batchTokens;
    onPlan?.(spec, file, rung, short ? reason : undefined);
    const model = await this.#engine.load(spec, (fraction) => this.#set({ state: "loading", name, fraction }));
    this.#set({ state: "ready", name: file.name, model, file });
    return model.memory.rssBytes;
  }

  #failed({ name }: LadderDecision): void {
    this.#set({ state: "failed", name, error: new Error("it could not be loaded; it is tried again soon") });
  }

  #pause(): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      const end = () => {
        cancel();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#clock.after(RETRY_MS, end);
      signal.addEventListener("abort", end, { once: true });
    });
  }

  #set(state: ModelState): void {
    this.#state = state;
    this.#options.onChange(state);
    for (const wake of [...this.#waiters]) wake();
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = () => {
        this.#waiters.delete(wake);
        signal.removeEventListener("abort", onAbort);
      };
      const wake = () => (end(), resolve());
      const onAbort = () => (end(), reject(signal.reason as Error));
      if (signal.aborted) return reject(signal.reason as Error);
      this.#waiters.add(wake);
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }
}
