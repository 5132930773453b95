// The governor's loop: sample the board, ask the policy, tell the engine. It decides nothing itself. Fast while a question
// runs, slow while the agent is idle; what it sees and decides goes to whoever listens (state topic, events, traces).
import type { Clock, Engine, Logger, Step } from "../core/ports.ts";
import type { Manners, Plan } from "../core/plan.ts";
import { decideThreads } from "../core/policy.ts";
import type { Readings, ReadingsSource } from "../core/readings.ts";
import type { Courtesy } from "../core/route.ts";
import { expectedMs, type Phase, type SpeedCurve } from "../core/speed-curve.ts";
import { describeThreads } from "../core/thread-reason.ts";
import type { ThreadDecision, ThreadState } from "../core/thread-state.ts";
import type { TraceSample } from "../core/trace.ts";
import { StepWindow } from "./step-window.ts";

/** While a question runs, unless the configuration says otherwise. */
const BUSY_EVERY_MS = 250;
/** Keeps the whole agent well under 1 % of a CPU when nobody asks. */
const IDLE_EVERY_MS = 2000;
/** A question that begins gets a fresh look at the board unless the last one is younger. */
const FRESH_MS = 100;

export interface GovernorEvents {
  /** The threads have changed, or heat has come or gone: worth an event. */
  onPlan?: (plan: Plan, decision: ThreadDecision) => void;
  /** The policy judges by this curve from now on. */
  onCurve?: (curve: SpeedCurve | undefined) => void;
  /** Every reading, what was decided on it, and what that was decided from: for traces. */
  onSample?: (sample: TraceSample) => void;
}

/** What is planned for memory and model; threads are the governor's own. */
export type ShapePlan = Omit<Plan, "threads" | "reason">;

export interface GovernorOptions {
  clock: Clock;
  log: Logger;
  sensors: ReadingsSource;
  engine: Pick<Engine, "setThreads" | "status">;
  plan: ShapePlan;
  courtesy?: Courtesy;
  /** How often the board is read while a question runs. */
  sampleIntervalMs?: number;
  /** The user's own choice, which wins over every policy; undefined or 0 leaves it to the policy. */
  fixedThreads?: number;
  events?: GovernorEvents;
}

/** A question's hold on the fast loop. */
export interface QuestionHold {
  /** The plan it starts with; `current` follows what happens later. */
  plan: Plan;
  /** Rest that is due before it begins. */
  pauseMs: number;
  /** The question has ended, however it ended. */
  end(): void;
}

export class Governor {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #sensors: ReadingsSource;
  readonly #engine: Pick<Engine, "setThreads" | "status">;
  readonly #defaultCourtesy: Courtesy;
  readonly #busyEveryMs: number;
  readonly #fixedThreads: number;
  readonly #events: GovernorEvents;
  readonly #steps = new StepWindow();
  /** One memory a courtesy: questions of different courtesy do not count as flapping of the board. */
  readonly #states = new Map<Courtesy, ThreadState>();
  readonly #running = new Set<{ courtesy: Courtesy }>();
  #plan: Plan;
  #shortage: string | undefined;
  #decision: ThreadDecision | undefined;
  #readings: Readings | undefined;
  #curve: SpeedCurve | undefined;
  #cancelTimer: (() => void) | undefined;
  #started = false;
  #handedOver = false;

  constructor(options: GovernorOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#sensors = options.sensors;
    this.#engine = options.engine;
    this.#defaultCourtesy = options.courtesy ?? "normal";
    this.#busyEveryMs = options.sampleIntervalMs ?? BUSY_EVERY_MS;
    this.#fixedThreads = options.fixedThreads ?? 0;
    this.#events = options.events ?? {};
    this.#plan = {
      ...options.plan,
      threads: { prefill: 1, decode: 1 },
      reason: "1 thread: the board has not been read yet",
    };
  }

  get current(): Plan {
    return this.#plan;
  }

  /** The last reading; undefined before `start`. */
  get readings(): Readings | undefined {
    return this.#readings;
  }

  get decision(): ThreadDecision | undefined {
    return this.#decision;
  }

  start(): Promise<void> {
    if (this.#started) return Promise.resolve();
    this.#started = true;
    this.#engine.setThreads(this.#plan.threads);
    this.#sample();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    this.#started = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    return Promise.resolve();
  }

  /** A question begins: the board is read now, and often until `end`. */
  forQuestion(courtesy: Courtesy): QuestionHold {
    const question = { courtesy };
    this.#running.add(question);
    if (this.#started) this.#sampleIfStale();
    return {
      plan: this.#plan,
      pauseMs: this.#decision?.pauseMs ?? 0,
      end: () => void this.#running.delete(question),
    };
  }

  /** The engine has evaluated a batch. A slow one is looked into at once. */
  onStep(step: Step): void {
    if (this.#handedOver) return;
    const nowMs = this.#clock.nowMs();
    this.#steps.add(step, nowMs);
    if (this.#started && this.#running.size > 0 && step.ms > this.#busyEveryMs) this.#sampleIfStale();
  }

  /** The calibration of the loaded model; undefined when it has none. */
  setCurve(curve: SpeedCurve | undefined): void {
    this.#curve = curve;
    this.#steps.clear();
    this.#events.onCurve?.(curve);
  }

  /** Memory or model were planned anew; `shortage` says why it is less than configured, and is part of every reason then. */
  setMemoryPlan(plan: ShapePlan, shortage?: string): void {
    this.#shortage = shortage;
    const reason = this.#decision?.reason ?? this.#plan.reason;
    this.#plan = { ...this.#plan, ...plan, reason: this.#withShortage(reason) };
  }

  /** Calibrated milliseconds a token with the threads of the moment; undefined without a calibration. */
  expectedMs(phase: Phase): number | undefined {
    return expectedMs(this.#curve, phase, this.#plan.threads[phase]);
  }

  /** The calibrator drives the threads until it calls the returned function; readings and decisions go on unheard. */
  handOver(): () => void {
    this.#handedOver = true;
    return () => {
      this.#handedOver = false;
      this.#steps.clear();
      this.#engine.setThreads(this.#plan.threads, this.#decision?.manners);
    };
  }

  /** A reading now, off the beat of the loop. */
  lookAgain(): Readings | undefined {
    if (this.#started) this.#sample();
    return this.#readings;
  }

  #withShortage(reason: string): string {
    return this.#shortage ? `${reason}; ${this.#shortage}` : reason;
  }

  #sampleIfStale(): void {
    const readings = this.#readings;
    if (!readings || this.#clock.nowMs() - readings.atMs >= FRESH_MS) return this.#sample();
    this.#decide(readings);
    this.#arm(readings);
  }

  #sample(): void {
    this.#sensors.watchChild(this.#engine.status.pid);
    const readings = this.#sensors.read();
    this.#readings = readings;
    this.#decide(readings);
    this.#arm(readings);
  }

  #arm(readings: Readings): void {
    this.#cancelTimer?.();
    // The very first reading has no window yet; the next one is what the first decision is made of.
    const delayMs = this.#running.size > 0 || readings.windowMs === 0 ? this.#busyEveryMs : IDLE_EVERY_MS;
    this.#cancelTimer = this.#clock.after(delayMs, () => this.#sample());
  }

  #decide(readings: Readings): void {
    if (readings.windowMs === 0) return;
    const courtesies = [...this.#running].map(({ courtesy }) => courtesy);
    // Of questions that share a batch the most courteous one sets the manners.
    const courtesy =
      (["high", "normal", "low"] as const).find((one) => courtesies.includes(one)) ?? this.#defaultCourtesy;
    const feedback = this.#steps.feedback(readings.atMs);
    for (const one of new Set([...this.#states.keys(), courtesy])) {
      const state = this.#states.get(one);
      const decision = decideThreads({
        readings,
        courtesy: one,
        curve: this.#curve,
        feedback,
        ...(state && { state }),
      });
      this.#states.set(one, decision.state);
      if (one !== courtesy) continue;
      this.#apply(this.#fixedThreads > 0 ? fixed(decision, this.#fixedThreads) : decision);
      this.#events.onSample?.({ readings, courtesy, feedback, ...decision });
    }
  }

  #apply(decision: ThreadDecision): void {
    const { threads: before } = this.#plan;
    const { threads, reason, cause } = decision;
    const moved = threads.prefill !== before.prefill || threads.decode !== before.decode;
    const news = moved || (cause === "heat") !== (this.#decision?.cause === "heat");
    const mannered = !sameManners(decision.manners, this.#decision?.manners);
    this.#decision = decision;
    this.#plan = { ...this.#plan, threads, reason: this.#withShortage(reason) };
    if ((moved || mannered) && !this.#handedOver) this.#engine.setThreads(threads, decision.manners);
    if (!news) return;
    this.#log.info({ threads, cause }, reason);
    this.#events.onPlan?.(this.#plan, decision);
  }
}

function fixed(decision: ThreadDecision, threads: number): ThreadDecision {
  const reason = `${describeThreads({ prefill: threads, decode: threads })}: fixed by the configuration`;
  // Whether so many threads have cores to themselves was not asked.
  const manners = { ...decision.manners, yielding: false };
  return { ...decision, threads: { prefill: threads, decode: threads }, manners, reason };
}

function sameManners(one: Manners, other: Manners = { restRatio: 0, yielding: false }): boolean {
  return one.restRatio === other.restRatio && one.yielding === other.yielding;
}
