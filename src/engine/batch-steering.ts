// Threads for each batch, chosen in the one moment the library allows it: just before a batch is put together, with none
// in flight. Also times every batch, and holds the fuse that drops to one thread when a neighbour appears mid-answer.
import type { CustomBatchingPrioritizationStrategy, Llama } from "node-llama-cpp";
import { systemClock } from "../core/clock.ts";
import type { ThreadPlan } from "../core/plan.ts";
import type { Clock, Step } from "../core/ports.ts";

/**
 * A decode step this much slower than the usual one blows the fuse: two spinning threads on one free core take 10 to 280
 * times as long (design.md §1), while heat or a longer context never doubles a step from one token to the next.
 */
const FUSE_RATIO = 3;
/** Steps so short are measuring noise. */
const FUSE_LEAST_MS = 40;
/** How long a blown fuse holds; by then the governor has read the load itself. */
const FUSE_HOLD_MS = 1000;
/** Shorter rests are saved up: a timer is late by a millisecond or two. */
const SHORTEST_REST_MS = 5;
/** A cancelled question must not wait for long. */
const LONGEST_REST_MS = 500;
/** Weight of the newest step in the usual time of a step. */
const USUAL_WEIGHT = 0.1;

export class BatchSteering {
  readonly #llama: Llama;
  readonly #onStep: (step: Step) => void;
  readonly #clock: Clock;
  #threads: ThreadPlan;
  #running: { phase: Step["phase"]; tokens: number; threads: number; startedMs: number } | undefined;
  #usualMs: number | undefined;
  #restRatio = 0;
  #owedRestMs = 0;
  #fusedUntilMs = 0;
  #encodings = 0;

  constructor(llama: Llama, threads: ThreadPlan, onStep: (step: Step) => void, clock: Clock = systemClock) {
    this.#clock = clock;
    this.#llama = llama;
    this.#threads = threads;
    this.#onStep = onStep;
  }

  setThreads(threads: ThreadPlan, restRatio = 0): void {
    this.#restRatio = restRatio;
    if (threads.decode !== this.#threads.decode) this.#usualMs = undefined;
    this.#threads = threads;
    this.#fusedUntilMs = 0;
  }

  /** For `createContext({ batching: { itemPrioritizationStrategy } })`: as many sequences as possible, first come first. */
  readonly prioritize: CustomBatchingPrioritizationStrategy = ({ items, size }) => {
    this.batchEnded();
    let left = size;
    const fair = Math.max(1, Math.floor(size / Math.max(1, items.length)));
    const chosen = items.map((item) => {
      const processAmount = Math.min(item.tokens.length, fair, left);
      left -= processAmount;
      return { item, processAmount };
    });
    for (const entry of chosen) {
      const more = Math.min(entry.item.tokens.length - entry.processAmount, left);
      entry.processAmount += more;
      left -= more;
    }
    const batch = chosen.filter(({ processAmount }) => processAmount > 0);
    this.#begin(batch.length, size - left);
    return batch;
  };

  /**
   * Around a batch that the library puts together without asking `prioritize`: an encoder's. Without it an encoder that is
   * alone would keep all cores it was loaded with, and spin beside any neighbour (5 ms a sentence became 500 here).
   * While more texts wait, one core is left to those who bring them and take the vectors away: with all cores, 8 texts in
   * flight went through at 73 to 100 a second on 2 cores, with one core left at 288 to 330.
   */
  async encoding<T>(run: () => Promise<T>): Promise<T> {
    this.#encodings += 1;
    const most = this.#clock.nowMs() < this.#fusedUntilMs ? 1 : this.#threads.prefill;
    const threads = this.#encodings > 1 ? Math.max(1, most - 1) : most;
    // While a decoder's batch runs, the limit is that batch's.
    if (this.#running === undefined && this.#llama.maxThreads !== threads) this.#llama.maxThreads = threads;
    try {
      return await run();
    } finally {
      this.#encodings -= 1;
    }
  }

  /** Before the next batch: the rest that the governor asks for after those that ended, if it asks for any. */
  async rest(): Promise<void> {
    if (this.#owedRestMs < SHORTEST_REST_MS) return;
    const restMs = Math.min(LONGEST_REST_MS, this.#owedRestMs);
    this.#owedRestMs = 0;
    await new Promise<void>((resolve) => this.#clock.after(restMs, resolve));
  }

  /** Called by whoever first gets a result of the running batch. */
  batchEnded(): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    const { phase, tokens, threads, startedMs } = running;
    const ms = this.#clock.nowMs() - startedMs;
    if (phase === "decode") this.#watchFuse(ms, threads);
    this.#owedRestMs = this.#restRatio === 0 ? 0 : this.#owedRestMs + this.#restRatio * ms;
    this.#onStep({ phase, tokens, threads, ms });
  }

  #begin(sequences: number, tokens: number): void {
    const phase = tokens > sequences ? "prefill" : "decode";
    const now = this.#clock.nowMs();
    const threads = now < this.#fusedUntilMs ? 1 : this.#threads[phase];
    if (this.#llama.maxThreads !== threads) this.#llama.maxThreads = threads;
    this.#running = { phase, tokens, threads, startedMs: now };
  }

  #watchFuse(ms: number, threads: number): void {
    if (threads > 1 && this.#usualMs !== undefined && ms > Math.max(FUSE_LEAST_MS, FUSE_RATIO * this.#usualMs)) {
      this.#fusedUntilMs = this.#clock.nowMs() + FUSE_HOLD_MS;
      return;
    }
    if (threads !== this.#threads.decode) return;
    this.#usualMs = this.#usualMs === undefined ? ms : this.#usualMs + USUAL_WEIGHT * (ms - this.#usualMs);
  }
}
