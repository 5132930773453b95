// The engine as the daemon sees it: a child process that holds the models, replaced when it dies. Its abort, SIGILL or
// OOM kill rejects the calls in flight with `engine_died` and costs nothing else.
import type { ChildProcess } from "node:child_process";
import { PipitError, toError } from "../core/errors.ts";
import type { Health, HealthSource } from "../core/health.ts";
import type { Manners, ThreadPlan } from "../core/plan.ts";
import type {
  Clock,
  EmbedOptions,
  Embeddings,
  Engine,
  EngineReading,
  EngineStatus,
  GenerateJob,
  LoadedModel,
  Logger,
  ModelSpec,
  Piece,
  ScoreJob,
  Scores,
  Step,
  Turn,
} from "../core/ports.ts";
import { type ChildOptions, spawnChild } from "./child-process.ts";
import { aborted, type CallOptions, PendingCalls, untilAborted } from "./pending-calls.ts";
import { PieceQueue } from "./piece-queue.ts";
import type { Argument, CallName, FromChild, Result, ToChild } from "./protocol.ts";

/** Wait before the n-th replacement in a row; a child that stays up for `HEALTHY_MS` starts the count anew. */
const RESTART_DELAYS_MS = [0, 1000, 2000, 5000, 15_000, 60_000];
const HEALTHY_MS = 60_000;
/** The longest that one batch, or one step of loading, may take before the engine counts as stuck. */
const STEP_MS = 60_000;
/** A child in the middle of a batch cannot listen; after this it is killed. */
const STOP_GRACE_MS = 500;

export interface EngineEvents {
  /** A batch has ended. */
  onStep?: (step: Step) => void;
  /** The child is gone, for the reason given in words; another one is on its way. */
  onDeath?: (reason: string) => void;
}

export class ChildEngine implements Engine, HealthSource {
  readonly room = "engine";
  readonly #options: ChildOptions;
  readonly #events: EngineEvents;
  readonly #log: Logger;
  readonly #clock: Clock;
  #child: ChildProcess | undefined;
  /** Settled when the present child is up and has its models again; replaced with every child. */
  #ready: Promise<void> = Promise.resolve();
  readonly #pending = new PendingCalls();
  /** What shall be loaded, by its place: a new child gets the same. */
  #specs = new Map<string, ModelSpec>();
  #models = new Map<string, { spec: ModelSpec; model: LoadedModel }>();
  /** The last word on threads: a new child gets it too. */
  #steering: Extract<ToChild, { type: "threads" }> | undefined;
  #state: EngineStatus["state"] = "stopped";
  #deaths = 0;
  #deathsInARow = 0;
  #lastDeath: string | undefined;
  #bornMs = 0;
  #cancelRestart: (() => void) | undefined;
  /** Messages from children so far: every one is progress. */
  #messages = 0;

  constructor(options: ChildOptions, events: EngineEvents, log: Logger, clock: Clock) {
    this.#options = options;
    this.#events = events;
    this.#log = log;
    this.#clock = clock;
  }

  get status(): EngineStatus {
    const { model } = this.#models.get("decoder") ?? this.#models.values().next().value ?? {};
    return {
      state: this.#state,
      deaths: this.#deaths,
      ...(model && { model }),
      ...(this.#child?.pid !== undefined && { pid: this.#child.pid }),
      ...(this.#lastDeath !== undefined && { lastDeath: this.#lastDeath }),
    };
  }

  /** A stopped or hung child owes progress as soon as something was asked of it. */
  health(): Health {
    const steps = this.#messages + this.#deaths;
    return this.#pending.size === 0 ? { steps } : { steps, doing: { what: "a batch of the model", stepMs: STEP_MS } };
  }

  async start(): Promise<void> {
    if (this.#state !== "stopped") return;
    this.#state = "empty";
    this.#ready = this.#spawn();
    await this.#ready;
  }

  async stop(): Promise<void> {
    if (this.#state === "stopped") return;
    this.#state = "stopped";
    this.#cancelRestart?.();
    const child = this.#child;
    this.#child = undefined;
    this.#pending.rejectAll(stopped());
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.disconnect();
    const cancelKill = this.#clock.after(STOP_GRACE_MS, () => child.kill("SIGKILL"));
    await gone;
    cancelKill();
  }

  async load(spec: ModelSpec, onProgress?: (fraction: number) => void): Promise<LoadedModel> {
    const place = placeOf(spec);
    // Known before the child is up: the one that follows a dead child loads this, not what the kernel has just killed.
    this.#specs.set(place, spec);
    const before = this.#models.get(place);
    await this.#whenUp();
    const loaded = this.#models.get(place);
    if (loaded?.spec === spec && loaded !== before) return loaded.model;
    this.#models.delete(place);
    this.#state = "loading";
    try {
      return await this.#loadIntoChild(spec, onProgress);
    } catch (error) {
      // A model that does not load is not tried again in the next child; one that was interrupted is.
      if (!isDeath(error) && this.#specs.get(place) === spec) this.#specs.delete(place);
      throw error;
    } finally {
      if (this.#state === "loading") this.#state = this.#models.size > 0 ? "ready" : "empty";
    }
  }

  async unload(kind: ModelSpec["kind"], path?: string): Promise<void> {
    const place = placeOf({ kind, path });
    this.#specs.delete(place);
    await this.#whenUp();
    this.#models.delete(place);
    if (this.#models.size === 0) this.#state = "empty";
    await this.#call("unload", { kind, path });
  }

  async *generate(job: GenerateJob, signal?: AbortSignal): AsyncGenerator<Piece> {
    await this.#whenUp(signal);
    const pieces = new PieceQueue();
    const stopped = new AbortController();
    const done = this.#call("generate", job, {
      signal: signal ? AbortSignal.any([signal, stopped.signal]) : stopped.signal,
      onPiece: (piece) => pieces.push(piece),
    });
    done.then(
      () => pieces.end(),
      (error: Error) => pieces.fail(error),
    );
    try {
      yield* pieces;
    } finally {
      // A reader that walks away ends the work too; after the end this does nothing.
      stopped.abort();
    }
  }

  async score(job: ScoreJob, signal?: AbortSignal): Promise<Scores> {
    await this.#whenUp(signal);
    return this.#call("score", job, { signal });
  }

  async embed(texts: string[], signal?: AbortSignal, options: EmbedOptions = {}): Promise<Embeddings> {
    await this.#whenUp(signal);
    return this.#call("embed", { texts, options }, { signal });
  }

  async readout(pages: string[], signal?: AbortSignal): Promise<Embeddings> {
    await this.#whenUp(signal);
    return this.#call("readout", pages, { signal });
  }

  async tokenize(turns: Turn[]): Promise<number[]> {
    await this.#whenUp();
    return this.#call("tokenize", turns);
  }

  /** Rejects at once when there is no child to measure. */
  async measure(): Promise<EngineReading> {
    return this.#call("measure", null);
  }

  setThreads(threads: ThreadPlan, { restRatio = 0, yielding = false }: Partial<Manners> = {}): void {
    this.#steering = { type: "threads", threads, restRatio, yielding };
    this.#send(this.#steering);
  }

  async #loadIntoChild(spec: ModelSpec, onProgress?: (fraction: number) => void): Promise<LoadedModel> {
    const model = await this.#call("load", spec, { onProgress });
    this.#models.set(placeOf(spec), { spec, model });
    return model;
  }

  /** Resolves when the child is up and has loaded what is wanted; rejects only when it dies before. */
  async #spawn(): Promise<void> {
    const child = spawnChild(this.#options);
    this.#child = child;
    this.#bornMs = this.#clock.nowMs();
    await new Promise<void>((resolve, reject) => {
      child.once("exit", (code, signal) => {
        reject(this.#died(child, signal ? `killed by ${signal}` : `exited with code ${code}`));
      });
      // Without a pid there was no process and there will be no exit; other errors are followed by one.
      child.on("error", (error) => {
        if (child.pid === undefined) reject(this.#died(child, `not started: ${error.message}`));
      });
      child.on("message", (message: FromChild) => {
        this.#messages += 1;
        if (message.type === "up") resolve();
        else if (message.type === "steps") for (const step of message.steps) this.#events.onStep?.(step);
        else this.#pending.receive(message);
      });
    });
    if (this.#steering) this.#send(this.#steering);
    for (const spec of this.#specs.values()) await this.#loadIntoChild(spec);
    if (this.#specs.size > 0) this.#state = "ready";
  }

  #died(child: ChildProcess, reason: string): PipitError {
    const error = new PipitError("transient", "engine_died", `the model's process was ${reason}`);
    if (child !== this.#child) return error;
    this.#child = undefined;
    this.#models.clear();
    this.#deaths += 1;
    this.#lastDeath = reason;
    this.#state = "restarting";
    this.#deathsInARow = this.#clock.nowMs() - this.#bornMs >= HEALTHY_MS ? 1 : this.#deathsInARow + 1;
    this.#log.warn({ reason, deaths: this.#deaths, inFlight: this.#pending.size }, "the model's process died");
    this.#ready = this.#restart();
    // Whoever calls next waits for `#ready` and sees its failure; nobody waiting is no reason to crash.
    this.#ready.catch(() => {});
    this.#pending.rejectAll(error);
    this.#events.onDeath?.(reason);
    return error;
  }

  async #restart(): Promise<void> {
    const delayMs = RESTART_DELAYS_MS[Math.min(this.#deathsInARow, RESTART_DELAYS_MS.length) - 1] ?? 0;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(delayMs, resolve);
      this.#cancelRestart = () => (cancel(), resolve());
    });
    if (this.#isStopped) throw stopped();
    try {
      await this.#spawn();
    } catch (error) {
      if (isDeath(error) || this.#isStopped) throw error;
      // A child without its models serves nobody: it goes the way of the dead, and the next one tries again.
      this.#log.error({ err: error }, "the model could not be loaded again");
      await this.#killChild();
      throw new PipitError(
        "transient",
        "engine_died",
        `the model could not be loaded again: ${toError(error).message}`,
      );
    }
  }

  /** Resolves when its death has been dealt with. */
  async #killChild(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGKILL");
    await gone;
  }

  get #isStopped(): boolean {
    return this.#state === "stopped";
  }

  /** Waits for the child, through as many deaths as it takes: they are not the fault of who waits. `signal` ends it. */
  async #whenUp(signal?: AbortSignal): Promise<void> {
    for (;;) {
      const ready = this.#ready;
      try {
        return await untilAborted(ready, signal);
      } catch (error) {
        if (ready === this.#ready || this.#isStopped || signal?.aborted) throw error;
      }
    }
  }

  #call<Name extends CallName>(name: Name, argument: Argument<Name>, options: CallOptions = {}): Promise<Result<Name>> {
    if (options.signal?.aborted) return Promise.reject(aborted(options.signal));
    if (this.#child) return this.#pending.start(name, argument, options, (message) => this.#send(message));
    return Promise.reject(new PipitError("transient", "engine_died", "the model's process is not running"));
  }

  #send(message: ToChild): void {
    const child = this.#child;
    // A failed send means the child is going; its exit event settles everything.
    if (child?.connected) child.send(message, () => {});
  }
}

/** One decoder, and one encoder of each file. */
function placeOf({ kind, path = "" }: { kind: ModelSpec["kind"]; path?: string | undefined }): string {
  return kind === "decoder" ? kind : `${kind} ${path}`;
}

function stopped(): PipitError {
  return new PipitError("transient", "engine_stopped", "the engine is stopping");
}

function isDeath(error: unknown): boolean {
  return error instanceof PipitError && error.code === "engine_died";
}
