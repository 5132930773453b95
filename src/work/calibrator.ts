// Measures the loaded model at every thread count, when nobody asks anything. A question ends the measuring at once; what
// was measured until then is kept and the rest follows at the next idle time. Only calm runs count: a run beside a busy
// neighbour says nothing about the board.
import {
  batchingOf,
  type CalibrationCard,
  type CalibrationKey,
  curveOf,
  leastRuns,
  planSweep,
  sameKey,
  samplesOf,
  type SpeedSample,
  type SweepRun,
} from "../core/calibration.ts";
import { PipitError, toError } from "../core/errors.ts";
import type { Clock, Engine, Logger, Step } from "../core/ports.ts";
import type { Readings } from "../core/readings.ts";
import type { Governor } from "./governor.ts";

/** The whole sweep ends before this, with batching and later passes left out on a slow board. */
const MOST_MS = 40_000;
/** How long the board must have been idle, and how often that is looked at. */
const IDLE_CHECK_MS = 5000;
/** Neighbours' cores above which a run is thrown away. */
const CALM_CORES = 0.3;
/** A busy board is tried again at the next idle time, not for ever. */
const MOST_DISTURBED_RUNS = 6;
/** An answer of a run: so many tokens on a fast board, fewer once there are enough of them on a slow one. */
const MOST_TOKENS = 64;
const ENOUGH_BATCHES = 16;
const ENOUGH_MS = 700;
/** About 100 tokens; the run's number in front keeps it out of every cache. */
const PROMPT =
  " The board under the window measures the temperature of the room, of the garden and of the water in the pipes. " +
  "Every minute it writes a line into its diary: the time, the three figures, and what it thinks about them. At night " +
  "it counts the lines, looks for what is out of the ordinary, and tells the house. Please go on with this story, say " +
  "what the board found yesterday, who read the message first, and what was done about the cold pipe behind the wall.";

export interface CardKeeper {
  load(key: CalibrationKey): Promise<CalibrationCard | undefined>;
  save(card: CalibrationCard): Promise<void>;
}

/** The loaded model as the calibration needs to know it. */
export interface CalibrationSubject {
  name: string;
  key: CalibrationKey;
  maxThreads: number;
  sequences: number;
}

export interface CalibratorOptions {
  engine: Pick<Engine, "generate" | "setThreads">;
  governor: Pick<Governor, "handOver" | "lookAgain" | "setCurve">;
  cards: CardKeeper;
  clock: Clock;
  log: Logger;
  /** Nobody asks anything and nothing waits. */
  isIdle: () => boolean;
  /** No measuring by itself, not even of a model without a card. */
  onlyWhenAsked?: boolean;
  /** A card was measured or found: it is published as `…/card`. */
  onCard?: (card: CalibrationCard) => void;
  /** Before each run: how many are done, of how many at most. */
  onProgress?: ((done: number, most: number, run: SweepRun) => void) | undefined;
}

export class Calibrator {
  readonly #options: CalibratorOptions;
  #subject: CalibrationSubject | undefined;
  #card: CalibrationCard | undefined;
  /** Kept over interruptions, for this subject only. */
  #progress = freshProgress();
  #due = false;
  #steps: Step[] = [];
  #running: { controller: AbortController; done: Promise<CalibrationCard> } | undefined;
  #cancelTimer: (() => void) | undefined;
  #started = false;

  constructor(options: CalibratorOptions) {
    this.#options = options;
  }

  get card(): CalibrationCard | undefined {
    return this.#card;
  }

  start(): void {
    this.#started = true;
    this.#arm();
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#cancelTimer?.();
    await this.interrupt();
  }

  /** A model was loaded (or none is): finds its card; without one it is measured at the first idle time. */
  async setSubject(subject: CalibrationSubject | undefined): Promise<void> {
    const known = subject && this.#subject && sameKey(subject.key, this.#subject.key);
    this.#subject = subject;
    if (!known) {
      await this.interrupt();
      this.#progress = freshProgress();
    }
    const card = subject && (await this.#options.cards.load(subject.key));
    if (subject !== this.#subject) return; // another model came while the disk was read
    this.#due = subject !== undefined && card === undefined && this.#options.onlyWhenAsked !== true;
    this.#adopt(card);
    this.#arm();
  }

  /** Measure again at the next idle time: the schedule, or a request by MQTT. */
  makeDue(): void {
    this.#due = true;
    this.#progress = freshProgress();
    this.#arm();
  }

  /** A question has come: stop measuring. Resolves when the engine is free and its threads are the governor's again. */
  async interrupt(): Promise<void> {
    this.#running?.controller.abort(new PipitError("transient", "calibration_interrupted", "a question came first"));
    await this.#running?.done.catch(() => {});
  }

  onStep(step: Step): void {
    if (this.#running) this.#steps.push(step);
  }

  /**
   * Measures now. Rejects `calibration_interrupted` when a question or `signal` ends it, `board_busy` when neighbours
   * leave no calm run, `model_unavailable` when no model is loaded.
   */
  run(signal?: AbortSignal): Promise<CalibrationCard> {
    const subject = this.#subject;
    if (!subject) return Promise.reject(new PipitError("transient", "model_unavailable", "no model is loaded"));
    if (this.#running) return this.#running.done;
    const controller = new AbortController();
    const either = signal ? AbortSignal.any([signal, controller.signal]) : controller.signal;
    const release = this.#options.governor.handOver();
    const done = this.#measure(subject, either)
      .catch((error: Error) => {
        throw either.aborted ? toError(either.reason) : error;
      })
      .finally(() => {
        this.#running = undefined;
        release();
      });
    this.#running = { controller, done };
    return done;
  }

  async #measure(subject: CalibrationSubject, signal: AbortSignal): Promise<CalibrationCard> {
    const { clock, log, onProgress } = this.#options;
    const progress = this.#progress;
    const startedMs = clock.nowMs() - progress.spentMs;
    const runs = planSweep(subject.maxThreads, subject.sequences);
    let disturbed = 0;
    for (let run = runs[progress.next]; run !== undefined; run = runs[progress.next]) {
      // Four answers side by side take up to four times as long as one: by its slowest run a single answer is judged.
      const nextMs = progress.longestSingleMs * run.sequences;
      if (progress.spentMs + nextMs > MOST_MS && progress.next >= leastRuns(subject.maxThreads)) break;
      onProgress?.(progress.next, runs.length, run);
      const runStartedMs = clock.nowMs();
      const samples = await this.#measureRun(run, `${progress.next}.${disturbed}`, signal);
      progress.spentMs = clock.nowMs() - startedMs;
      const singleMs = (clock.nowMs() - runStartedMs) / run.sequences;
      progress.longestSingleMs = Math.max(progress.longestSingleMs, singleMs);
      if (samples) {
        progress.samples.push(...samples);
        progress.next++;
      } else if (++disturbed >= MOST_DISTURBED_RUNS) {
        throw new PipitError("transient", "board_busy", "other programs are busy: no calm moment to measure in");
      }
    }
    const card: CalibrationCard = {
      key: subject.key,
      model: subject.name,
      measuredAt: new Date(clock.wallMs()).toISOString(),
      tookMs: progress.spentMs,
      curve: curveOf(progress.samples),
      batching: batchingOf(progress.samples),
    };
    this.#progress = freshProgress();
    this.#due = false;
    await this.#options.cards
      .save(card)
      .catch((error: unknown) => log.warn({ reason: toError(error).message }, "the card was not stored"));
    log.info({ tookMs: card.tookMs, curve: card.curve }, "calibrated");
    this.#adopt(card);
    return card;
  }

  /** The samples of one run, or undefined when it was not calm. */
  async #measureRun(run: SweepRun, mark: string, signal: AbortSignal): Promise<SpeedSample[] | undefined> {
    const { engine, governor } = this.#options;
    signal.throwIfAborted();
    const before = governor.lookAgain();
    this.#steps = [];
    engine.setThreads({ prefill: run.threads, decode: run.threads });
    await Promise.all(Array.from({ length: run.sequences }, (_, index) => this.#answer(`${mark}.${index}`, signal)));
    const after = governor.lookAgain();
    // A run shorter than a window is judged by the window before it.
    const calm = [before, after].every((reading) => reading === undefined || isCalm(reading));
    return calm ? samplesOf(run, this.#steps) : undefined;
  }

  async #answer(mark: string, signal: AbortSignal): Promise<void> {
    const { engine, clock } = this.#options;
    const turns = [{ role: "user" as const, text: `${mark}${PROMPT}` }];
    const job = { id: `calibration-${mark}`, turns, maxTokens: MOST_TOKENS, temperature: 0 };
    let firstMs: number | undefined;
    for await (const piece of engine.generate(job, signal)) {
      firstMs ??= clock.nowMs();
      const batches = this.#steps.filter(({ phase }) => phase === "decode").length;
      if (piece.kind === "text" && batches >= ENOUGH_BATCHES && clock.nowMs() - firstMs >= ENOUGH_MS) return;
    }
  }

  #adopt(card: CalibrationCard | undefined): void {
    this.#card = card;
    this.#options.governor.setCurve(card?.curve);
    if (card) this.#options.onCard?.(card);
  }

  /** One timer while something is due and nothing runs. */
  #arm(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    if (!this.#started || !this.#due || this.#running) return;
    this.#cancelTimer = this.#options.clock.after(IDLE_CHECK_MS, () => {
      if (!this.#options.isIdle()) return this.#arm();
      const { log } = this.#options;
      this.run().then(
        () => this.#arm(),
        (error: Error) => (log.info({ reason: error.message }, "calibration put off"), this.#arm()),
      );
    });
  }
}

interface Progress {
  samples: SpeedSample[];
  spentMs: number;
  /** The longest run so far, by the answer. */
  longestSingleMs: number;
  /** Index into the sweep. */
  next: number;
}

const freshProgress = (): Progress => ({ samples: [], spentMs: 0, longestSingleMs: 0, next: 0 });

function isCalm(readings: Readings): boolean {
  return readings.foreignCores < CALM_CORES && readings.throttle?.throttled !== true;
}
