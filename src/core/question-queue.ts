// The line of waiting questions: bounded, by priority, fair between senders, nobody starves. Pure data, linear scans: the
// line is short because a board that is behind refuses early.
import type { Question } from "./request.ts";

/** A waiting question gains one step of priority each time this has passed, or this part of its time if that is less. */
const AGING_MS = 15_000;
const AGING_PART = 1 / 20;
/** Nothing ages beyond the highest priority there is: from there on senders take turns. */
const HIGHEST = 9;

export class QuestionQueue {
  readonly #maxQuestions: number;
  #waiting: Question[] = [];
  /** For each sender, when (as a count) it was last served: the one served longest ago goes first. */
  #served = new Map<string, number>();
  #servings = 0;

  constructor(maxQuestions: number) {
    this.#maxQuestions = maxQuestions;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** In the order of arrival. */
  get waiting(): readonly Question[] {
    return this.#waiting;
  }

  push(question: Question): void {
    this.#waiting.push(question);
  }

  /**
   * The next question to work on: highest aged priority, then the sender served longest ago, then the oldest. Undefined also
   * when that one may not go yet: nobody overtakes it.
   */
  take(nowMs: number, mayGo: (question: Question) => boolean = () => true): Question | undefined {
    if (this.#waiting.length === 0) return undefined;
    const next = this.#waiting.reduce((best, other) => (this.#order(other, best, nowMs) < 0 ? other : best));
    if (!mayGo(next)) return undefined;
    this.#remove(next);
    this.#servings += 1;
    this.#served.set(next.sender, this.#servings);
    this.#forgetIdleSenders();
    return next;
  }

  remove(matches: (question: Question) => boolean): Question[] {
    const removed = this.#waiting.filter(matches);
    for (const question of removed) this.#remove(question);
    return removed;
  }

  #remove(question: Question): void {
    this.#waiting = this.#waiting.filter((other) => other !== question);
  }

  #order(one: Question, other: Question, nowMs: number): number {
    return (
      agedPriority(other, nowMs) - agedPriority(one, nowMs) ||
      (this.#served.get(one.sender) ?? 0) - (this.#served.get(other.sender) ?? 0) ||
      one.arrivedMs - other.arrivedMs
    );
  }

  /** Senders without a waiting question lose their rank once there are many, so that memory stays bounded. */
  #forgetIdleSenders(): void {
    if (this.#served.size <= 4 * this.#maxQuestions) return;
    const waiting = new Set(this.#waiting.map(({ sender }) => sender));
    for (const sender of this.#served.keys()) if (!waiting.has(sender)) this.#served.delete(sender);
  }
}

/** The lowest has caught up with the highest when less than half of its time is over, so that it is answered in the end. */
function agedPriority(question: Question, nowMs: number): number {
  return Math.min(HIGHEST, question.priority + Math.floor((nowMs - question.arrivedMs) / stepMs(question)));
}

/** Milliseconds after which nothing has a higher priority than the question any more. */
export function agingMs(question: Question): number {
  return (HIGHEST - question.priority) * stepMs(question);
}

function stepMs({ arrivedMs, deadlineMs }: Question): number {
  return Math.max(1, Math.min(AGING_MS, AGING_PART * (deadlineMs - arrivedMs)));
}
