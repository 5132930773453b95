// The ladder's loop: looks at the memory, asks the policy, has models changed when nobody asks anything. Also puts a model
// to sleep that nobody has asked for a while, and wakes it for the next question.
import { decideRung, type LadderDecision, type LadderState, type Rung } from "../core/ladder.ts";
import { learnMemory, predictMemory } from "../core/memory-plan.ts";
import { toError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Readings } from "../core/readings.ts";

const LOOK_EVERY_MS = 2000;
/** A change that failed (a file gone, a load that died) is tried again no sooner. */
const RETRY_MS = 30_000;

export interface ModelLadderOptions {
  /** The largest first; the last may be without memory: nothing is loaded then. */
  rungs: readonly Rung[];
  readings: () => Readings | undefined;
  /** No question runs or waits. */
  isIdle: () => boolean;
  /** Loads or unloads; resolves with the RSS of the engine's process right after a load. */
  change: (decision: LadderDecision) => Promise<number | undefined>;
  /** Unload after so long without a question; 0 never. */
  unloadAfterMs: number;
  /** The rung has changed, is about to (`loading`), or could not: for events, the plan and replies. */
  onChange?: (decision: LadderDecision, state: "loading" | "done" | "failed") => void;
  clock: Clock;
  log: Logger;
}

export class ModelLadder {
  readonly #options: ModelLadderOptions;
  readonly #rungs: Rung[];
  #state: LadderState | undefined;
  #decision: LadderDecision | undefined;
  #killed = false;
  #asleep = false;
  #askedMs: number;
  #changing: Promise<void> | undefined;
  #retryAtMs = 0;
  #cancelTimer: (() => void) | undefined;
  #started = false;

  constructor(options: ModelLadderOptions) {
    this.#options = options;
    this.#rungs = [...options.rungs];
    this.#askedMs = options.clock.nowMs();
  }

  /** What is loaded and why; undefined before the first decision. */
  get decision(): LadderDecision | undefined {
    return this.#decision;
  }

  get asleep(): boolean {
    return this.#asleep;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#look();
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#cancelTimer?.();
    await this.#changing;
  }

  /** The kernel has killed the engine's process, or so it looks (SIGKILL that was not ours). */
  noteKill(): void {
    this.#killed = true;
  }

  /** A question has come: a sleeping model is loaded again, at the size that fits now. */
  async wake(): Promise<void> {
    this.#askedMs = this.#options.clock.nowMs();
    await this.#changing; // a model that is just being put to sleep must be gone before it can be woken
    if (this.#asleep && this.#started) {
      this.#asleep = false;
      this.#look(true);
    }
    await this.#changing;
  }

  #look(fresh = false): void {
    this.#cancelTimer?.();
    if (!this.#started) return;
    this.#cancelTimer = this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
    const { readings: read, isIdle, clock } = this.#options;
    const readings = read();
    if (!readings || this.#changing || this.#asleep || clock.nowMs() < this.#retryAtMs) return;
    if (this.#mayForget()) return this.#sleep();
    const state = this.#state;
    const decision = decideRung({
      rungs: this.#rungs,
      readings,
      idle: isIdle(),
      killed: this.#killed,
      fresh,
      ...(state && { state }),
    });
    this.#killed = false;
    this.#state = decision.state;
    if (decision.action === "keep") this.#decision = { ...decision, reason: this.#decision?.reason ?? decision.reason };
    else this.#begin(decision);
  }

  #mayForget(): boolean {
    const { unloadAfterMs, clock, isIdle } = this.#options;
    const loaded = this.#decision?.plan !== undefined;
    return unloadAfterMs > 0 && loaded && isIdle() && clock.nowMs() - this.#askedMs >= unloadAfterMs;
  }

  #sleep(): void {
    const { unloadAfterMs } = this.#options;
    if (!this.#decision || !this.#state) return;
    this.#asleep = true;
    const { plan: _, ...rest } = this.#decision;
    const minutes = (unloadAfterMs / 60_000).toFixed(0);
    this.#begin({
      ...rest,
      action: "unload",
      reason: `${rest.name}: unloaded after ${minutes} minutes without a question`,
    });
  }

  #begin(decision: LadderDecision): void {
    const { log, clock, onChange, change } = this.#options;
    log.info({ rung: decision.rung, action: decision.action }, decision.reason);
    onChange?.(decision, "loading");
    this.#changing = change(decision)
      .then(
        (rssBytes) => {
          this.#decision = decision;
          if (rssBytes !== undefined) this.#learn(decision, rssBytes);
          onChange?.(decision, "done");
        },
        (thrown: unknown) => {
          log.warn({ err: toError(thrown), rung: decision.rung }, "the model was not changed; trying again later");
          this.#retryAtMs = clock.nowMs() + RETRY_MS;
          this.#state = undefined;
          onChange?.(decision, "failed");
        },
      )
      .finally(() => (this.#changing = undefined));
  }

  #learn({ rung, plan }: LadderDecision, rssBytes: number): void {
    const memory = this.#rungs[rung]?.memory;
    if (!memory || !plan) return;
    const correctionBytes = learnMemory(predictMemory(memory, plan), rssBytes);
    this.#rungs[rung] = {
      ...this.#rungs[rung],
      name: this.#rungs[rung]?.name ?? "",
      memory: { ...memory, correctionBytes },
    };
  }
}
