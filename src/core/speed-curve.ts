// How fast this board runs a model, by thread count: the calibration's result as the thread policy reads it.
import type { Step } from "./ports.ts";

export type Phase = Step["phase"];

/** Tokens per second by thread count (1, 2, …), one sequence, measured on a calm board. */
export interface SpeedCurve {
  prefill: Record<number, number>;
  decode: Record<number, number>;
}

/** A thread more must bring this much, or the core is left to the neighbours. */
const WORTH_A_THREAD = 1.03;

/**
 * The best thread count up to `most`, of which a CPU quota lets only `cores` run at a time: more threads are then held up for
 * a part of each period, which may still be the faster way. Without a curve: all cores read a prompt fastest, while writing is bound by memory
 * and peaks at 1 to 3 threads on a Raspberry Pi 5 (19 of 21 published files), so 2 is the guess.
 */
export function bestThreads(curve: SpeedCurve | undefined, phase: Phase, most: number, cores = most): number {
  const speeds = curve?.[phase];
  if (!speeds) return Math.max(1, phase === "prefill" ? most : Math.min(2, most));
  const speed = (threads: number) => (speeds[threads] ?? 0) * Math.min(1, cores / threads);
  let best = 1;
  for (let threads = 2; threads <= most; threads++) {
    if (speed(threads) > speed(best) * WORTH_A_THREAD) best = threads;
  }
  return best;
}

/** Milliseconds a token should take, or undefined where it was not measured. */
export function expectedMs(curve: SpeedCurve | undefined, phase: Phase, threads: number): number | undefined {
  const speed = curve?.[phase][threads];
  return speed === undefined || speed <= 0 ? undefined : 1000 / speed;
}
