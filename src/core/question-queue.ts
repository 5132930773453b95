// The line of waiting questions: bounded, by priority, fair between senders, nobody starves. Pure data, linear scans: the
// line is short because a board that is behind refuses early.
import type { Question } from "./request.ts";

/** A question gains one step of priority for each of these it has waited, so that a low one is answered in the end. */
const AGING_MS = 15_000;

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

  /** The next question to work on: highest aged priority, then the sender served longest ago, then the oldest. */
  take(nowMs: number): Question | undefined {
    const [next] = [...this.#waiting].sort((one, other) => this.#order(one, other, nowMs));
    if (next === undefined) return undefined;
    this.#remove(next);
    this.#servings += 1;
    this.#served.set(senderOf(next), this.#servings);
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
      (this.#served.get(senderOf(one)) ?? 0) - (this.#served.get(senderOf(other)) ?? 0) ||
      one.arrivedMs - other.arrivedMs
    );
  }

  /** Senders without a waiting question lose their rank once there are many, so that memory stays bounded. */
  #forgetIdleSenders(): void {
    if (this.#served.size <= 4 * this.#maxQuestions) return;
    const waiting = new Set(this.#waiting.map(senderOf));
    for (const sender of this.#served.keys()) if (!waiting.has(sender)) this.#served.delete(sender);
  }
}

/** Answers to one topic are taken to be for one sender. */
function senderOf(question: Question): string {
  return question.replyTopic;
}

function agedPriority(question: Question, nowMs: number): number {
  return question.priority + Math.floor((nowMs - question.arrivedMs) / AGING_MS);
}
