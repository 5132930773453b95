// The limits that the thread policy combines: cores that neighbours leave, slowness measured by the steps themselves,
// heat and supply voltage. Each is a pure function of readings and what is remembered.
import type { ThreadPlan } from "./plan.ts";
import type { Readings } from "./readings.ts";
import type { Courtesy } from "./route.ts";
import { expectedMs, type SpeedCurve } from "./speed-curve.ts";
import type { HeatCap, SlowCap, StepFeedback } from "./thread-state.ts";

/**
 * Cores' worth of foreign load that may overlap with ours before a thread is given up: against the running mean, and
 * against a single window, which is noisier. A quarter of a core lets housekeeping pass.
 */
const SLACK: Record<Courtesy, { mean: number; window: number }> = {
  low: { mean: 0.6, window: 0.8 },
  normal: { mean: 0.25, window: 0.5 },
  high: { mean: 0.1, window: 0.15 },
};
const FOREIGN_TIME_CONSTANT_MS = 1000;

/** Slower than the expectation of fewer threads by this factor: fewer threads are faster. */
const SLOWER = 1.15;
/** Slower than the own expectation by this factor: threads wait for one that is not running. */
const MUCH_SLOWER = 2;
/** Grounds for a cap: one slow step alone is the engine's fuse's business, the milder rule needs a sound median. */
const STEPS_FOR_MUCH_SLOWER = 2;
const STEPS_FOR_SLOWER = 4;
const FIRST_HOLD_MS = 5000;
const LONGEST_HOLD_MS = 160_000;
/** Slowness that comes back this soon after a cap ended was not over. */
const RELAPSE_MS = 30_000;

/** Firmware of the Raspberry Pi throttles from 80 °C on and hard at 85 °C. */
const HOT_C = 80;
const COOL_C = 75;
const COOL_FOR_MS = 30_000;

/** The mean of foreign load with a time constant of 1 s, whatever the distance of the readings. */
export function foreignMeanOf(before: { foreignMean: number; atMs: number } | undefined, readings: Readings): number {
  if (!before) return readings.foreignCores;
  const weight = 1 - Math.exp(-Math.max(0, readings.atMs - before.atMs) / FOREIGN_TIME_CONSTANT_MS);
  return before.foreignMean + weight * (readings.foreignCores - before.foreignMean);
}

/** Whole cores that neighbours leave; may be below 1. */
export function freeThreads(readings: Readings, foreignMean: number, courtesy: Courtesy): number {
  const slack = SLACK[courtesy];
  const byMean = Math.floor(readings.affinityCores - foreignMean + slack.mean);
  const byWindow = Math.floor(readings.affinityCores - readings.foreignCores + slack.window);
  return Math.min(byMean, byWindow);
}

/**
 * Whether each thread has a core to itself. One neighbour more than cores are left would get its fair share only, so that
 * with t threads on n cores t/(n+1) of a core seems to be free that is not: half of that is allowed for noise.
 */
export function haveOwnCores(
  { affinityCores, foreignCores }: Readings,
  foreignMean: number,
  plan: ThreadPlan,
): boolean {
  const threads = Math.max(plan.prefill, plan.decode);
  const left = affinityCores - Math.max(foreignMean, foreignCores);
  return left >= threads - (0.5 * threads) / (affinityCores + 1);
}

/** Whether steps were slower than fewer threads would be: the count that is better, and why. */
function betterThreads(
  step: StepFeedback,
  curve: SpeedCurve | undefined,
): { threads: number; why: string } | undefined {
  const expected = expectedMs(curve, step.phase, step.threads);
  if (step.threads <= 1 || expected === undefined) return undefined;
  const why = `a token took ${step.msPerToken.toFixed(0)} ms instead of ${expected.toFixed(0)} on ${step.threads} threads`;
  if (step.steps < STEPS_FOR_MUCH_SLOWER) return undefined;
  if (step.msPerToken > MUCH_SLOWER * expected) return { threads: Math.floor(step.threads / 2), why };
  if (step.steps < STEPS_FOR_SLOWER) return undefined;
  for (let threads = step.threads - 1; threads >= 1; threads--) {
    const fewer = expectedMs(curve, step.phase, threads);
    if (fewer !== undefined && step.msPerToken > SLOWER * fewer) return { threads, why };
  }
  return undefined;
}

/** Sets, keeps, renews or forgets the cap by slowness. A board that is hot is slow for a known reason: no new cap. */
export function slowCapOf(
  before: SlowCap | undefined,
  feedback: StepFeedback[],
  curve: SpeedCurve | undefined,
  nowMs: number,
  hot: boolean,
): SlowCap | undefined {
  let worst: { threads: number; why: string } | undefined;
  for (const step of hot ? [] : feedback) {
    const better = betterThreads(step, curve);
    if (better && better.threads < (worst?.threads ?? Infinity)) worst = better;
  }
  const active = before !== undefined && nowMs < before.untilMs;
  if (!worst || (active && worst.threads >= before.threads)) {
    return before && nowMs < before.untilMs + RELAPSE_MS ? before : undefined;
  }
  const relapsed = before !== undefined && !active;
  const holdMs = relapsed ? Math.min(LONGEST_HOLD_MS, before.holdMs * 2) : (before?.holdMs ?? FIRST_HOLD_MS);
  return { ...worst, holdMs, untilMs: nowMs + holdMs };
}

/** Hot at once, cool only after 30 s below the lower mark without a throttle bit. */
export function heatCapOf(before: HeatCap | undefined, readings: Readings): HeatCap | undefined {
  const { temperatureC, throttle } = readings;
  if (throttle?.underVoltage) return { why: "the supply voltage is too low, use a stronger power supply" };
  if (throttle?.throttled || throttle?.softTemperatureLimit) return { why: "the board throttles itself for heat" };
  if (temperatureC !== undefined && temperatureC >= HOT_C) return { why: `the chip has ${temperatureC.toFixed(0)} °C` };
  if (!before) return undefined;
  if (temperatureC !== undefined && temperatureC >= COOL_C) return { why: before.why };
  const coolSinceMs = before.coolSinceMs ?? readings.atMs;
  return readings.atMs - coolSinceMs >= COOL_FOR_MS ? undefined : { why: before.why, coolSinceMs };
}
