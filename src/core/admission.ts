// Whether a question can be taken: there is room in the line, its sender leaves room for others, and its answer can be ready
// in time. Asked before it is accepted, so that nobody waits for a refusal. Pure.
import { RequestError } from "./errors.ts";
import { agingMs } from "./question-queue.ts";
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
 * Milliseconds until work on the question would begin: the rest of what runs, its sender's own questions, and of each other
 * sender as many as it has turns to wait for. Of what has a higher priority, no more than can be done until the question has
 * aged as far: otherwise whoever asks with the highest priority would make every other deadline look impossible.
 */
export function expectedStartMs(question: Question, admission: Admission): number {
  const { waiting, running, concurrency, nowMs, estimateMs } = admission;
  // While a place is free nothing has to end first.
  if (waiting.length === 0 && running.length < concurrency) return 0;
  const { sender, priority } = question;
  const sumMs = (questions: readonly Question[]) => questions.reduce((sum, other) => sum + estimateMs(other), 0);
  const own = waiting.filter((other) => other.sender === sender && other.priority >= priority);
  const others = waiting.filter((other) => other.sender !== sender);
  const higher = others.filter((other) => other.priority > priority);
  const peers = others.filter((other) => other.priority === priority);
  const higherMs = Math.min(
    sumMs(higher),
    agingMs(question) * concurrency + sumMs(firstOfEachSender(higher, own.length + 1)),
  );
  const restMs = running.reduce(
    (sum, { question: other, begunMs }) => sum + Math.max(0, estimateMs(other) - (nowMs - begunMs)),
    0,
  );
  const aheadMs = sumMs(own) + higherMs + sumMs(firstOfEachSender(peers, own.length + 1));
  return (aheadMs + restMs) / Math.max(1, concurrency);
}

function firstOfEachSender(questions: readonly Question[], most: number): Question[] {
  const taken = new Map<string, number>();
  return questions.filter(({ sender }) => {
    const count = (taken.get(sender) ?? 0) + 1;
    taken.set(sender, count);
    return count <= most;
  });
}

function busy(message: string, retryAfterMs: number): RequestError {
  return new RequestError("busy", message, { retryAfterMs: Math.ceil(retryAfterMs) });
}

function seconds(ms: number): string {
  return (Math.max(0, ms) / 1000).toFixed(1);
}
