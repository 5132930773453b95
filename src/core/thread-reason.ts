// Every decision about threads in a sentence that names the figures it came from.
import type { ThreadPlan } from "./plan.ts";
import type { Readings } from "./readings.ts";
import type { Cause, ThreadState } from "./thread-state.ts";

/** What the policy weighed, in threads. */
export interface Limits {
  /** Cores by affinity, cpuset and quota. */
  most: number;
  /** What neighbours leave. */
  free: number;
  heat: number;
  slow: number;
  /** What the limits together allow now; the state's threads may still wait below it. */
  wanted: ThreadPlan;
  /** Batches rest as long as they took, out of courtesy. */
  rests: boolean;
}

const cores = (count: number) =>
  `${Number.isInteger(count) ? count : count.toFixed(1)} ${count === 1 ? "core" : "cores"}`;

/** `2 threads`, or `4 threads to read, 2 to write` where the phases differ. */
export function describeThreads({ prefill, decode }: ThreadPlan): string {
  const count = (threads: number) => `${threads} ${threads === 1 ? "thread" : "threads"}`;
  return prefill === decode ? count(decode) : `${count(prefill)} to read, ${decode} to write`;
}

export function explain(readings: Readings, state: ThreadState, limits: Limits): { cause: Cause; reason: string } {
  const { cause, why } = because(readings, state, limits);
  const rests = limits.rests ? ", and every batch rests as long as it took" : "";
  return { cause, reason: `${describeThreads(state.threads)}: ${why}${rests}` };
}

function because(readings: Readings, state: ThreadState, limits: Limits): { cause: Cause; why: string } {
  const { most, free, heat, slow, wanted } = limits;
  const foreign = Math.max(state.foreignMean, readings.foreignCores).toFixed(1);
  if (state.heat && heat <= Math.min(free, slow)) return { cause: "heat", why: state.heat.why };
  if (state.slow && slow < Math.min(most, free)) return { cause: "slow_steps", why: state.slow.why };
  if (free < most) return { cause: "neighbours", why: `neighbours use ${foreign} of ${cores(readings.affinityCores)}` };
  if (state.threads.prefill < wanted.prefill || state.threads.decode < wanted.decode) {
    const calmSeconds = state.room ? (state.atMs - state.room.sinceMs) / 1000 : 0;
    const why = `calm for ${calmSeconds.toFixed(0)} s, more after ${(state.dwellMs / 1000).toFixed(0)} s without neighbours`;
    return { cause: "recovering", why };
  }
  if (readings.allowedCores < readings.affinityCores) {
    return { cause: "quota", why: `the CPU quota allows ${cores(readings.allowedCores)} of ${readings.affinityCores}` };
  }
  return { cause: "calm", why: `calm, ${cores(most)} free` };
}
