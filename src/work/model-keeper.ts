// Keeps a model loaded: finds the files of its ladder (the wanted model, then smaller ones), lets the ladder choose what the
// memory allows, loads it, and tries again when a file cannot be had. Questions that need the model wait here while it
// loads or wakes up, and are told why when there is none.
import { PipitError, toError } from "../core/errors.ts";
import type { LadderDecision, Rung } from "../core/ladder.ts";
import { barFromNotes, type MemoryNotesStore, withBar } from "../core/memory-notes.ts";
import { type MemoryShape, predictMemory } from "../core/memory-plan.ts";
import type { ModelFile } from "../core/model-file.ts";
import type { Clock, Engine, LoadedModel, Logger, ModelSpec } from "../core/ports.ts";
import { ModelLadder, type ModelLadderOptions } from "./model-ladder.ts";

/** Wait before a failed model is tried again: a fetch may have finished, memory may have come back. */
const RETRY_MS = 30_000;
const WORDS = { decoder: "a generative model", encoder: "an encoder" } as const;
/** As a rung: nothing is loaded, and questions are refused. */
export const NOTHING = "none";

export type ModelState =
  | { state: "loading"; name: string; fraction: number }
  | { state: "ready"; name: string; model: LoadedModel; file: ModelFile }
  | { state: "unloaded"; name: string; reason: string }
  | { state: "failed"; name: string; error: Error };

export interface ModelKeeperOptions extends Pick<
  ModelLadderOptions,
  "readings" | "isIdle" | "stopQuestions" | "tokens" | "others"
> {
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
  /** Names what measuring teaches about a file, over restarts. */
  noteKey: (file: ModelFile) => string;
  notes: MemoryNotesStore;
  /** Loads of one process, one after the other: RSS right after a load tells of that load only. */
  oneByOne: <T>(load: () => Promise<T>) => Promise<T>;
  /** Has the other model of the process make room for this one. */
  makeRoom?: (reason: string) => Promise<void>;
  /** Memory has been planned for a model that is about to be loaded or unloaded. */
  onPlan?: (plan: ModelPlan) => void;
  /** Every change of state, for `…/state` and `…/event`. */
  onChange: (state: ModelState) => void;
}

/** What was planned for a kind of model, and why. */
export interface ModelPlan {
  /** Undefined: nothing is loaded. */
  load?: { spec: ModelSpec; file: ModelFile };
  rung: number;
  reason: string;
  /** It is less than wanted. */
  short: boolean;
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
  /** What the model takes by plan, from the decision to load it on. */
  #plannedBytes = 0;

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

  /** What the model takes in the engine's process, by plan and of that already. */
  get bytes(): { planned: number; loaded: number } {
    const planned = this.#plannedBytes;
    return { planned, loaded: this.#state.state === "ready" ? planned : 0 };
  }

  /** The engine's process has died; `killed` from outside, perhaps for want of memory. */
  noteDeath(killed: boolean): void {
    this.#ladder?.noteDeath(killed);
    const { kind, rungs, notes } = this.#options;
    const bar = this.#ladder?.barred;
    if (killed && bar) {
      notes.write(withBar(notes.read(), kind, rungs, bar, this.#clock.nowMs(), this.#clock.wallMs()));
    }
  }

  /** Unloads for another model; it comes back when there is room for both. */
  async makeRoom(reason: string): Promise<void> {
    await this.#ladder?.makeRoom(reason);
  }

  /** Name of the loaded model; waits while it loads or wakes up. Rejects `model_unavailable` when there is none. */
  async whenReady(signal: AbortSignal): Promise<string> {
    await this.#ladder?.wake();
    for (;;) {
      const now = this.#state;
      if (now.state === "ready") return now.name;
      if (now.state !== "loading") {
        const why = now.state === "failed" ? `model ${now.name}: ${now.error.message}` : `no model, ${now.reason}`;
        throw new PipitError("transient", "model_unavailable", why);
      }
      await this.#changed(signal);
    }
  }

  /** Resolves when the model is ready, cannot be had for now, or the keeper stops; a sleeping one is woken. */
  async whenSettled(): Promise<void> {
    const { signal } = this.#stopping;
    await this.#ladder?.wake();
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
    this.#ladder = this.#createLadder();
    this.#ladder.start();
  }

  #createLadder(): ModelLadder {
    const { rungs, kind, notes } = this.#options;
    const barred = barFromNotes(notes.read(), kind, rungs, this.#clock.nowMs(), this.#clock.wallMs());
    return new ModelLadder({
      ...this.#options,
      rungs: rungs.filter((name) => name === NOTHING || this.#files.has(name)).map((name) => this.#rung(name)),
      change: (decision) => this.#change(decision),
      onChange: (decision, state) => state === "failed" && this.#failed(decision),
      onLearnt: (name, correctionBytes) => this.#learnt(name, correctionBytes),
      ...(barred && { barred }),
      clock: this.#clock,
      log: this.#log,
    });
  }

  #learnt(name: string, correctionBytes: number): void {
    const { notes, noteKey } = this.#options;
    const file = this.#files.get(name);
    if (!file) return;
    const before = notes.read();
    notes.write({ ...before, corrections: { ...before.corrections, [noteKey(file)]: Math.round(correctionBytes) } });
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
    const { wanted, kind, repackedTypes, notes, noteKey } = this.#options;
    const correctionBytes = notes.read().corrections[noteKey(file)] ?? 0;
    return { name, memory: { model: file.shape, kind, repackedTypes, wanted, correctionBytes } };
  }

  async #change({ name, plan, rung, reason, evictsOthers }: LadderDecision): Promise<number | undefined> {
    const { kind, onPlan, makeRoom, oneByOne } = this.#options;
    const file = this.#files.get(name);
    if (plan === undefined || file === undefined) {
      const before = this.#state;
      onPlan?.({ rung, reason, short: this.#options.rungs[0] !== NOTHING });
      this.#set({ state: "unloaded", name, reason });
      if (before.state === "ready") await oneByOne(() => this.#engine.unload(kind, before.file.path));
      this.#plannedBytes = 0;
      return undefined;
    }
    this.#set({ state: "loading", name, fraction: 0 });
    if (evictsOthers) await makeRoom?.(`${name} needs the memory`);
    const { memory } = this.#rung(name);
    this.#plannedBytes = memory ? predictMemory(memory, plan).ownBytes : 0;
    const spec = this.#specOf(file, plan);
    onPlan?.({ load: { spec, file }, rung, reason, short: rung > 0 || this.#isShort(file, plan) });
    const onProgress = (fraction: number) => this.#set({ state: "loading", name, fraction });
    return oneByOne(async () => {
      const model = await this.#engine.load(spec, onProgress);
      this.#set({ state: "ready", name: file.name, model, file });
      return model.memory.rssBytes;
    });
  }

  #specOf({ name, path, prefix }: ModelFile, { contextTokens, batchTokens, sequences }: MemoryShape): ModelSpec {
    const { kind, readings } = this.#options;
    const maxThreads = Math.max(1, Math.floor(readings(false)?.affinityCores ?? 1));
    const spec = { name, path, kind, contextTokens, batchTokens, sequences, maxThreads };
    return prefix === undefined ? spec : { ...spec, prefix };
  }

  #isShort({ shape }: ModelFile, { contextTokens, batchTokens, sequences }: MemoryShape): boolean {
    const { wanted } = this.#options;
    const most = Math.min(wanted.contextTokens, shape.contextTokens || Infinity);
    return contextTokens < most || sequences < wanted.sequences || batchTokens < wanted.batchTokens;
  }

  #failed({ name }: LadderDecision): void {
    this.#plannedBytes = 0;
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
