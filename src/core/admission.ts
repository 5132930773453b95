// Whether a question can be answered in time: asked before it is accepted, so that nobody waits for a refusal.
import { RequestError } from "./errors.ts";

export interface Admission {
  waiting: number;
  maxWaiting: number;
  /** Until work on the question would begin, by what is ahead of it. */
  startMs: number;
  /** Its own expected time. */
  ownMs: number;
  /** Until its deadline. */
  leftMs: number;
}

/** The refusal, with the time after which asking again makes sense; undefined admits the question. */
export function admissionFault({ waiting, maxWaiting, startMs, ownMs, leftMs }: Admission): RequestError | undefined {
  const retryAfterMs = Math.ceil(startMs);
  if (waiting >= maxWaiting) {
    const message = `${waiting} questions are waiting, the limit is ${maxWaiting}`;
    return new RequestError("busy", `${message}; try again in about ${seconds(startMs)} s`, { retryAfterMs });
  }
  if (startMs + ownMs <= leftMs) return undefined;
  const message = `an answer would take about ${seconds(startMs + ownMs)} s, the deadline is in ${seconds(leftMs)} s`;
  return new RequestError("busy", message, { retryAfterMs });
}

function seconds(ms: number): string {
  return (Math.max(0, ms) / 1000).toFixed(1);
}
