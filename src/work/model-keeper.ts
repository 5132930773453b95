// Keeps the wanted model loaded: finds the file, asks the planner for numbers that fit, loads it, tries again later when
// that fails. Questions that need the model wait here while it loads and are told why when it cannot be had.
import { PipitError, toError } from "../core/errors.ts";
import type { Clock, Engine, LoadedModel, Logger, ModelSpec } from "../core/ports.ts";

/** Wait before a failed model is tried again: a fetch may have finished, memory may have come back. */
const RETRY_MS = 30_000;

export type ModelState =
  | { state: "loading"; name: string; fraction: number }
  | { state: "ready"; name: string; model: LoadedModel }
  | { state: "failed"; name: string; error: Error };

export interface ModelKeeperOptions {
  /** Name or path of the wanted model. */
  name: string;
  /** Finds, verifies and, if need be, fetches the file, and plans context, batch and sequences for it. */
  specify: (name: string, onProgress: (fraction: number) => void, signal: AbortSignal) => Promise<ModelSpec>;
  /** Every change of state, for `…/state` and `…/event`. */
  onChange: (state: ModelState) => void;
}

export class ModelKeeper {
  readonly #options: ModelKeeperOptions;
  readonly #engine: Pick<Engine, "load">;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  #state: ModelState;
  #loop: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;
  #waiters = new Set<() => void>();

  constructor(options: ModelKeeperOptions, engine: Pick<Engine, "load">, clock: Clock, log: Logger) {
    this.#options = options;
    this.#engine = engine;
    this.#clock = clock;
    this.#log = log;
    this.#state = { state: "loading", name: options.name, fraction: 0 };
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Begins loading and returns at once. */
  start(): void {
    this.#loop ??= this.#keep(this.#options.name);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new PipitError("transient", "stopping", "the agent is stopping"));
    this.#cancelRetry?.();
    await this.#loop;
  }

  /** Name of the loaded model; waits while it loads. Rejects `model_unavailable` when it cannot be loaded. */
  async whenReady(signal: AbortSignal): Promise<string> {
    for (;;) {
      const now = this.#state;
      if (now.state === "ready") return now.name;
      if (now.state === "failed") {
        throw new PipitError("transient", "model_unavailable", `model ${now.name}: ${now.error.message}`);
      }
      await this.#changed(signal);
    }
  }

  /** Resolves when the model is ready, has failed for the first time, or the keeper stops. */
  async whenSettled(): Promise<void> {
    const { signal } = this.#stopping;
    while (this.#state.state === "loading" && !signal.aborted) await this.#changed(signal).catch(() => {});
  }

  async #keep(name: string): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        const onProgress = (fraction: number) => this.#set({ state: "loading", name, fraction });
        const spec = await this.#options.specify(name, onProgress, this.#stopping.signal);
        const model = await this.#engine.load(spec, onProgress);
        this.#log.info(
          { model: name, loadMs: Math.round(model.loadMs), rssBytes: model.memory.rssBytes },
          "model loaded",
        );
        return this.#set({ state: "ready", name: spec.name, model });
      } catch (thrown) {
        if (this.#stopping.signal.aborted) return;
        const error = toError(thrown);
        this.#log.error({ model: name, err: error }, "the model cannot be loaded; trying again later");
        this.#set({ state: "failed", name, error });
        await new Promise<void>((resolve) => {
          this.#cancelRetry = this.#clock.after(RETRY_MS, resolve);
          this.#stopping.signal.addEventListener("abort", () => resolve(), { once: true });
        });
      }
    }
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
