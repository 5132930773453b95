// The governor's brain for threads: readings and what it remembers in, threads and a reason out. Pure, so that tables,
// properties and replayed traces test it.
//
// ggml's barrier spins without bound: one thread more than free cores costs up to 280 times (0.2 instead of 57 tokens a
// second beside one busy process on 2 cores), one thread less at most 1.6 times. Hence down at once, up slowly:
// - feed-forward: no more threads than allowed cores less what neighbours use, before anything has become slow;
// - feedback: steps slower than fewer threads would be lower the cap, for causes that no reading shows;
// - up only after calm, for a time that doubles whenever the step up proves wrong (a bursty neighbour);
// - at most 6 changes in any minute: the sixth goes to a single thread, below which nothing can be asked.
import type { ThreadPlan } from "./plan.ts";
import { bestThreads, type Phase } from "./speed-curve.ts";
import { foreignMeanOf, freeThreads, haveOwnCores, heatCapOf, slowCapOf } from "./thread-limits.ts";
import { explain } from "./thread-reason.ts";
import type { ThreadDecision, ThreadInput, ThreadState } from "./thread-state.ts";

export const MOST_CHANGES = 6;
export const CHANGE_WINDOW_MS = 60_000;
/** Two calm seconds are paid back by a faster answer even if every other one is regretted; then they double. */
export const FIRST_DWELL_MS = 2000;
/** A core that neighbours have really left is used again within 20 s, whatever was regretted before. */
export const LONGEST_DWELL_MS = 16_000;
/** A step down this soon after a step up says that the step up was wrong. */
const REGRET_MS = 30_000;
const HEAT_PAUSE_MS = 1000;
/** Threads that yield beside a neighbour who wants every core starve: not on the strength of one window. */
const YIELD_AFTER_MS = 1000;
const COURTEOUS_PAUSE_MS = 250;
/** One thread always runs; on a board without a free core high courtesy leaves it half of the time to the neighbours. */
const COURTEOUS_REST_RATIO = 1;

export function decideThreads(input: ThreadInput): ThreadDecision {
  const { readings, courtesy, curve } = input;
  const { allowedCores } = readings;
  const nowMs = readings.atMs;
  const state = remember(input);
  // A part of a core, which only a quota leaves, is for a thread that the calibration says is worth it.
  const most = Math.max(1, curve ? Math.ceil(allowedCores) : Math.floor(allowedCores));
  const free = freeThreads(readings, state.foreignMean, courtesy);
  const heat = state.heat ? Math.max(1, Math.floor(most / 2)) : most;
  const slow = state.slow && nowMs < state.slow.untilMs ? state.slow.threads : most;
  const ceiling = Math.max(1, Math.min(most, free, heat, slow));
  const best = (phase: Phase) => bestThreads(curve, phase, ceiling, Math.min(ceiling, allowedCores));
  const wanted = { prefill: best("prefill"), decode: best("decode") };

  const rests = courtesy === "high" && free < 1;
  const paces = input.state ? paced(state, wanted, nowMs) : { ...state, threads: wanted };
  // The batch that is running still has the threads of before.
  const running = greatest(input.state?.threads ?? paces.threads, paces.threads);
  const roomy = haveOwnCores(readings, state.foreignMean, running);
  const next = { ...paces, ownCoresSinceMs: roomy ? (state.ownCoresSinceMs ?? nowMs) : undefined };
  return {
    threads: next.threads,
    manners: {
      restRatio: rests ? COURTEOUS_REST_RATIO : 0,
      yielding: next.ownCoresSinceMs !== undefined && nowMs - next.ownCoresSinceMs >= YIELD_AFTER_MS,
    },
    pauseMs: state.heat ? HEAT_PAUSE_MS : courtesy === "high" && free < most ? COURTEOUS_PAUSE_MS : 0,
    ...explain(readings, next, { most, free, heat, slow, wanted, rests }),
    changed: !input.state || !same(next.threads, state.threads),
    state: next,
  };
}

/** The state brought up to these readings; its threads are still the old ones. */
function remember({ state: before, readings, curve, feedback = [] }: ThreadInput): ThreadState {
  const nowMs = readings.atMs;
  const heat = heatCapOf(before?.heat, readings);
  return {
    threads: { prefill: 1, decode: 1 },
    dwellMs: FIRST_DWELL_MS,
    ...before,
    atMs: nowMs,
    foreignMean: foreignMeanOf(before, readings),
    changesMs: (before?.changesMs ?? []).filter((at) => nowMs - at < CHANGE_WINDOW_MS),
    slow: slowCapOf(before?.slow, feedback, curve, nowMs, heat !== undefined),
    heat,
  };
}

/** Down at once; up when there has been room all through the dwell and a later step down would still be allowed. */
function paced(state: ThreadState, wanted: ThreadPlan, nowMs: number): ThreadState {
  const { threads, changesMs, raisedAtMs } = state;
  const stoodTheTest = raisedAtMs !== undefined && nowMs - raisedAtMs >= REGRET_MS;
  const dwellMs = stoodTheTest ? FIRST_DWELL_MS : state.dwellMs;
  const steady = { ...state, dwellMs, raisedAtMs: stoodTheTest ? undefined : raisedAtMs };

  const lower = least(threads, wanted);
  if (!same(lower, threads)) {
    const last = changesMs.length >= MOST_CHANGES - 1;
    const regretted = steady.raisedAtMs !== undefined;
    return {
      ...steady,
      threads: last ? { prefill: 1, decode: 1 } : lower,
      changesMs: [...changesMs, nowMs],
      dwellMs: regretted ? Math.min(LONGEST_DWELL_MS, dwellMs * 2) : dwellMs,
      raisedAtMs: undefined,
      room: undefined,
    };
  }
  if (same(wanted, threads)) return { ...steady, room: undefined };

  const proven = state.room && least(state.room.threads, wanted);
  const room =
    state.room && proven && !same(proven, threads)
      ? { ...state.room, threads: proven }
      : { sinceMs: nowMs, threads: wanted };
  // Two changes are kept in hand: this one, and the step down that corrects it.
  if (nowMs - room.sinceMs < dwellMs || changesMs.length > MOST_CHANGES - 2) return { ...steady, room };
  return { ...steady, threads: room.threads, changesMs: [...changesMs, nowMs], raisedAtMs: nowMs, room: undefined };
}

function same(a: ThreadPlan, b: ThreadPlan): boolean {
  return a.prefill === b.prefill && a.decode === b.decode;
}

function least(a: ThreadPlan, b: ThreadPlan): ThreadPlan {
  return { prefill: Math.min(a.prefill, b.prefill), decode: Math.min(a.decode, b.decode) };
}

function greatest(a: ThreadPlan, b: ThreadPlan): ThreadPlan {
  return { prefill: Math.max(a.prefill, b.prefill), decode: Math.max(a.decode, b.decode) };
}
