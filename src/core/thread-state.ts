// What the thread policy takes, remembers and answers. Plain data: it is traced, replayed and shown.
import type { Manners, ThreadPlan } from "./plan.ts";
import type { Readings } from "./readings.ts";
import type { Courtesy } from "./route.ts";
import type { Phase, SpeedCurve } from "./speed-curve.ts";

/** What the steps of the last seconds took, for one phase and thread count. */
export interface StepFeedback {
  phase: Phase;
  threads: number;
  /** Median over the steps. */
  msPerToken: number;
  steps: number;
}

/** A limit that measured slowness has set. It is kept a while after its end, to know whether the slowness came back. */
export interface SlowCap {
  threads: number;
  untilMs: number;
  holdMs: number;
  why: string;
}

/** Heat or under-voltage: held until the board has been well for a while. */
export interface HeatCap {
  coolSinceMs?: number;
  why: string;
}

export interface ThreadState {
  threads: ThreadPlan;
  atMs: number;
  /** Exponential mean of the neighbours' cores. */
  foreignMean: number;
  /** When the threads changed, within the last minute. */
  changesMs: number[];
  /** More threads than now have been right since then, and never fewer than these. */
  room?: { sinceMs: number; threads: ThreadPlan };
  /** Calm time that the next step up needs. */
  dwellMs: number;
  raisedAtMs?: number;
  /** Each thread has had a core to itself since then. */
  ownCoresSinceMs?: number;
  slow?: SlowCap;
  heat?: HeatCap;
}

export type Cause = "calm" | "neighbours" | "quota" | "slow_steps" | "heat" | "recovering";

export interface ThreadDecision {
  threads: ThreadPlan;
  /** Rest before the next question: heat, and high courtesy on a busy board. */
  pauseMs: number;
  /** Batches rest under high courtesy when neighbours want every core, and yield while each thread has a core to itself. */
  manners: Manners;
  cause: Cause;
  /** A sentence for replies, events and the log. */
  reason: string;
  changed: boolean;
  state: ThreadState;
}

export interface ThreadInput {
  readings: Readings;
  /** Undefined for the first decision, which is free of pacing. */
  state?: ThreadState;
  courtesy: Courtesy;
  curve?: SpeedCurve;
  feedback?: StepFeedback[];
}
