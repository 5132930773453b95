// How much of its time a question has left after a restart. Records hold wall time, the only clock that survives; boards
// without a real-time clock boot in 1970 and jump by years once the network tells the time. So the wall clock is believed
// only where it can be true, and the answer always lies between 0 and the time the question was given.
import type { AcceptedQuestion } from "./ports.ts";

/** 2024-01-01: a clock before it has not been set yet. */
const PLAUSIBLE_WALL_MS = 1_704_067_200_000;

/**
 * Milliseconds left at `wallMs`, from 0 (expired) to the question's whole time.
 * - The clock stands before the arrival: it went back or is not set; no time is counted as passed.
 * - One of the two times is from a clock that was not set: how long it was is unknown; no time is counted as passed.
 * - The clock jumped forward (by hand, by a day): the time counts, and the question may expire early.
 */
export function remainingMs(
  question: Pick<AcceptedQuestion, "acceptedWallMs" | "deadlineWallMs">,
  wallMs: number,
): number {
  const wholeMs = Math.max(0, question.deadlineWallMs - question.acceptedWallMs);
  const comparable = question.acceptedWallMs >= PLAUSIBLE_WALL_MS === wallMs >= PLAUSIBLE_WALL_MS;
  const passedMs = comparable ? Math.max(0, wallMs - question.acceptedWallMs) : 0;
  return Math.max(0, wholeMs - passedMs);
}
