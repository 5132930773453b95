// The ladder's loop: looks at the memory, asks the policy, has models changed while no question runs. Also puts a model to
// sleep that nobody has asked for a while, and wakes it for the next question; and answers the death of the engine's process
// before the next one loads what the kernel has just killed.
import {
  type Bar,
  decideRung,
  type LadderDecision,
  type LadderState,
  restoredState,
  type Rung,
} from "../core/ladder.ts";
import { learnMemory, predictMemory } from "../core/memory-plan.ts";
import { toError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Readings } from "../core/readings.ts";
import type { QuestionStop } from "./question-stop.ts";

const LOOK_EVERY_MS = 2000;
/** A change that failed (a file gone, a load that died) is tried again no sooner. */
const RETRY_MS = 30_000;

/** What the engine's process holds besides this ladder's model. */
export interface OtherModels {
  /** What they take by plan, and of that what is loaded already. */
  plannedBytes: number;
  loadedBytes: number;
  /** They make room for this model where both do not fit. */
  yield: boolean;
  /** Pressure is theirs to answer. */
  goFirst: boolean;
}

export interface ModelLadderOptions {
  /** The largest first; the last may be without memory: nothing is loaded then. */
  rungs: readonly Rung[];
  /** `fresh`: not the ones of some moments ago. */
  readings: (fresh: boolean) => Readings | undefined;
  others?: () => OtherModels;
  /** Tokens that the model has read and written since the start. */
  tokens?: () => number;
  /** No question runs or waits. */
  isIdle: () => boolean;
  stopQuestions: () => QuestionStop;
  /** Loads or unloads; resolves with the RSS of the engine's process right after a load. */
  change: (decision: LadderDecision) => Promise<number | undefined>;
  /** Unload after so long without a question; 0 never. */
  unloadAfterMs: number;
  /** What an earlier life of the daemon remembers. */
  barred?: Bar;
  /** The rung has changed, is about to (`loading`), or could not: for events, the plan and replies. */
  onChange?: (decision: LadderDecision, state: "loading" | "done" | "failed") => void;
  /** Measuring has taught what a rung really takes. */
  onLearnt?: (rung: string, correctionBytes: number) => void;
  clock: Clock;
  log: Logger;
}

export class ModelLadder {
  readonly #options: ModelLadderOptions;
  readonly #rungs: Rung[];
  #state: LadderState | undefined;
  #decision: LadderDecision | undefined;
  #killed = false;
  /** Nothing is loaded now, or no longer: whatever fits is chosen, without waiting. */
  #fresh = true;
  #asleep = false;
  #askedMs: number;
  #changing: Promise<void> | undefined;
  #stop: QuestionStop | undefined;
  #retryAtMs = 0;
  #cancelTimer: (() => void) | undefined;
  #started = false;
  #counted: { tokens: number; atMs: number } | undefined;

  constructor(options: ModelLadderOptions) {
    this.#options = options;
    this.#rungs = [...options.rungs];
    this.#askedMs = options.clock.nowMs();
    if (options.barred) this.#state = restoredState(options.barred);
  }

  /** What is loaded and why; undefined before the first decision. */
  get decision(): LadderDecision | undefined {
    return this.#decision;
  }

  /** What the kernel has killed and is not to be loaded again for a while. */
  get barred(): Bar | undefined {
    return this.#state?.barred;
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
    this.#release();
    await this.#changing;
  }

  /**
   * The engine's process has died, perhaps by the kernel's hand (SIGKILL that was not ours). What is decided now is what the
   * next process loads.
   */
  noteDeath(killed: boolean): void {
    this.#killed ||= killed;
    if (!this.#changing && !this.#decision?.plan) return;
    this.#fresh = true;
    this.#look(); // in the middle of a change nothing is decided; the next look does
  }

  /** A question has come: a sleeping model is loaded again, at the size that fits now. */
  async wake(): Promise<void> {
    this.#askedMs = this.#options.clock.nowMs();
    await this.#changing; // a model that is just being put to sleep must be gone before it can be woken
    if (this.#asleep && this.#started) {
      this.#asleep = false;
      this.#fresh = true;
      this.#look();
    }
    await this.#changing;
  }

  /** Unloads for another model that is about to be loaded in the same process. */
  async makeRoom(reason: string): Promise<void> {
    await this.#changing;
    if (!this.#decision?.plan || !this.#state) return;
    this.#release();
    const { rung, name } = this.#decision;
    const state = { ...this.#state, plan: undefined, changedAtMs: this.#options.clock.nowMs() };
    this.#begin({ rung: rung + 1, name, action: "unload", reason: `${name}: ${reason}`, state });
    await this.#changing;
  }

  #look(): void {
    this.#cancelTimer?.();
    if (!this.#started) return;
    this.#cancelTimer = this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
    const { readings: read, clock } = this.#options;
    const readings = read(this.#fresh);
    if (!readings || this.#changing || this.#asleep || clock.nowMs() < this.#retryAtMs) return;
    if (this.#mayForget()) return this.#sleep();
    const decision = this.#decide(readings);
    if (decision.action === "keep" || this.#isAsBefore(decision)) {
      this.#adopt(decision);
      const reason = this.#decision?.reason ?? decision.reason;
      this.#decision = { ...decision, action: "keep", reason };
      return this.#release();
    }
    // Only a loaded model is in use by somebody; whoever runs without one waits for this very change.
    const loaded = this.#state?.plan !== undefined && !this.#fresh;
    if (loaded && !this.#isQuiet) return this.#waitForQuiet();
    if (loaded) this.#stop ??= this.#options.stopQuestions();
    this.#begin(decision);
  }

  #decide(readings: Readings): LadderDecision {
    const others = this.#options.others?.();
    const state = this.#state;
    return decideRung({
      rungs: this.#rungs,
      readings,
      killed: this.#killed,
      fresh: this.#fresh,
      ...(others && { othersBytes: others.plannedBytes, othersYield: others.yield, patient: others.goFirst }),
      tokensPerSecond: this.#tokensPerSecond(),
      ...(state && { state }),
    });
  }

  /** After a death: the next process loads the same again, and the engine sees to that. */
  #isAsBefore({ rung, plan, evictsOthers }: LadderDecision): boolean {
    const before = this.#decision;
    if (!before?.plan || !plan || before.rung !== rung || evictsOthers || this.#state?.plan === undefined) return false;
    const { contextTokens, sequences, batchTokens } = before.plan;
    return plan.contextTokens === contextTokens && plan.sequences === sequences && plan.batchTokens === batchTokens;
  }

  #adopt({ state }: LadderDecision): void {
    this.#killed = false;
    this.#fresh = false;
    this.#state = state;
  }

  get #isQuiet(): boolean {
    return this.#options.isIdle() || this.#stop?.isQuiet === true;
  }

  #waitForQuiet(): void {
    if (this.#stop) return;
    const stop = this.#options.stopQuestions();
    this.#stop = stop;
    void stop.quiet.then(() => this.#stop === stop && this.#look());
  }

  #release(): void {
    this.#stop?.release();
    this.#stop = undefined;
  }

  #tokensPerSecond(): number | undefined {
    const { tokens, clock } = this.#options;
    if (!tokens) return undefined;
    const now = { tokens: tokens(), atMs: clock.nowMs() };
    const before = this.#counted;
    this.#counted = now;
    if (!before || now.atMs <= before.atMs || now.tokens === before.tokens) return undefined;
    return ((now.tokens - before.tokens) * 1000) / (now.atMs - before.atMs);
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
    const seconds = unloadAfterMs / 1000;
    const time = seconds < 120 ? `${seconds} seconds` : `${(seconds / 60).toFixed(0)} minutes`;
    this.#begin({
      ...rest,
      action: "unload",
      reason: `${rest.name}: unloaded after ${time} without a question`,
      state: this.#state,
    });
  }

  #begin(decision: LadderDecision): void {
    const { log, clock, onChange, change } = this.#options;
    log.info({ rung: decision.rung, action: decision.action }, decision.reason);
    this.#adopt(decision);
    // A process that has answered already has more in its heap than a load puts there.
    const rebuilt = this.#decision?.plan !== undefined && this.#decision.rung === decision.rung;
    onChange?.(decision, "loading");
    this.#changing = change(decision)
      .then(
        (rssBytes) => {
          this.#decision = decision;
          if (rssBytes !== undefined && !rebuilt) this.#learn(decision, rssBytes);
          onChange?.(decision, "done");
        },
        (thrown: unknown) => {
          log.warn({ err: toError(thrown), rung: decision.rung }, "the model was not changed; trying again later");
          this.#retryAtMs = clock.nowMs() + RETRY_MS;
          if (this.#state) this.#state = { ...this.#state, plan: undefined };
          this.#fresh = true;
          onChange?.(decision, "failed");
        },
      )
      .finally(() => {
        this.#changing = undefined;
        this.#release();
      });
  }

  #learn({ rung, plan }: LadderDecision, rssBytes: number): void {
    const { others, onLearnt } = this.#options;
    const { memory, name } = this.#rungs[rung] ?? {};
    if (!memory || name === undefined || !plan) return;
    const prediction = predictMemory({ ...memory, othersBytes: others?.().loadedBytes ?? 0 }, plan);
    const correctionBytes = learnMemory(prediction, rssBytes);
    this.#rungs[rung] = { name, memory: { ...memory, correctionBytes } };
    onLearnt?.(name, correctionBytes);
  }
}
