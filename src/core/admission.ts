// Whether a question can be taken: there is room in the line, its sender leaves room for others, and its answer can be ready
// in time. Asked before it is accepted, so that nobody waits for a refusal. Pure.
import { RequestError } from "./errors.ts";
import type { Question } from "./request.ts";

export interface QueueBounds {
  maxQuestions: number;
  maxBytes: number;
  /** Longest expected wait before work on a question begins. */
  maxWaitMs: number;
}

export interface Running {
  question: Question;
  begunMs: number;
}

export interface Admission {
  bounds: QueueBounds;
  /** In the order of arrival, those that are being written down included. */
  waiting: readonly Question[];
  running: readonly Running[];
  /** Questions worked on side by side. */
  concurrency: number;
  nowMs: number;
  /** Milliseconds of engine time that a question takes. */
  estimateMs: (question: Question) => number;
}

/**
 * A sender may have this many waiting questions for each free place: alone it gets three quarters of the line, and the last
 * place of all is for somebody who has none.
 */
const WAITING_PER_FREE_PLACE = 3;
/** A full line is not worth asking again at once, however short its questions are. */
const LEAST_RETRY_MS = 100;

/** The refusal, with the time after which asking again makes sense; undefined admits the question. */
export function admissionFault(question: Question, admission: Admission): RequestError | undefined {
  const { bounds, waiting, nowMs, estimateMs } = admission;
  const startMs = expectedStartMs(question, admission);
  const full = fullness(question, waiting, bounds);
  if (full !== undefined) {
    return busy(`${full}; try again in about ${seconds(startMs)} s`, Math.max(LEAST_RETRY_MS, startMs));
  }
  if (startMs > bounds.maxWaitMs) {
    const message = `work on it would begin in about ${seconds(startMs)} s, the limit is ${seconds(bounds.maxWaitMs)} s`;
    return busy(message, startMs - bounds.maxWaitMs);
  }
  const readyMs = startMs + estimateMs(question);
  const leftMs = question.deadlineMs - nowMs;
  if (readyMs <= leftMs) return undefined;
  return busy(`an answer would take about ${seconds(readyMs)} s, the deadline is in ${seconds(leftMs)} s`, startMs);
}

function fullness(question: Question, waiting: readonly Question[], bounds: QueueBounds): string | undefined {
  const { maxQuestions, maxBytes } = bounds;
  const free = maxQuestions - waiting.length;
  if (free <= 0) return `${waiting.length} questions are waiting, the limit is ${maxQuestions}`;
  const bytes = waiting.reduce((sum, other) => sum + other.bytes, question.bytes);
  if (bytes > maxBytes) return `the waiting questions would have ${bytes} bytes, the limit is ${maxBytes}`;
  const own = waiting.filter((other) => other.sender === question.sender).length;
  if (own === 0 || own < WAITING_PER_FREE_PLACE * free) return undefined;
  return `${own} questions of this sender are waiting, the other ${free} of ${maxQuestions} places are kept for others`;
}

/**
 * Milliseconds until work on the question would begin: the rest of what runs, everything of higher priority, and of its own
 * priority as many questions of each other sender as it has turns to wait for.
 */
export function expectedStartMs(question: Question, admission: Admission): number {
  const { waiting, running, concurrency, nowMs, estimateMs } = admission;
  const own = waiting.filter((other) => isPeer(other, question) && other.sender === question.sender).length;
  const turns = new Map<string, number>();
  const ahead = waiting.filter((other) => {
    if (!isPeer(other, question)) return other.priority > question.priority;
    const taken = turns.get(other.sender) ?? 0;
    turns.set(other.sender, taken + 1);
    return other.sender === question.sender || taken <= own;
  });
  const aheadMs = ahead.reduce((sum, other) => sum + estimateMs(other), 0);
  const restMs = running.reduce(
    (sum, { question: other, begunMs }) => sum + Math.max(0, estimateMs(other) - (nowMs - begunMs)),
    0,
  );
  // While a place is free nothing has to end first.
  if (waiting.length === 0 && running.length < concurrency) return 0;
  return (aheadMs + restMs) / Math.max(1, concurrency);
}

function isPeer(one: Question, other: Question): boolean {
  return one.priority === other.priority;
}

function busy(message: string, retryAfterMs: number): RequestError {
  return new RequestError("busy", message, { retryAfterMs: Math.ceil(retryAfterMs) });
}

function seconds(ms: number): string {
  return (Math.max(0, ms) / 1000).toFixed(1);
}
