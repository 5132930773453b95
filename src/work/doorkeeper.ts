// Who may come in: limits of senders and routes, then the bounds of the line and the time an answer would take. It decides
// by the pure rules of core/ and keeps only what passes between them: rates, speeds, and who is being written down.
import { admissionFault, type QueueBounds, type Running } from "../core/admission.ts";
import type { RequestError } from "../core/errors.ts";
import { openFault, Rates } from "../core/limits.ts";
import type { Clock, Usage } from "../core/ports.ts";
import type { Question } from "../core/request.ts";
import type { Speeds } from "../core/speeds.ts";

export interface Inside {
  waiting: () => readonly Question[];
  running: () => readonly Running[];
  /** Questions worked on side by side. */
  concurrency: () => number;
}

export class Doorkeeper {
  readonly #bounds: QueueBounds;
  readonly #inside: Inside;
  readonly #speeds: Speeds;
  readonly #clock: Clock;
  readonly #rates = new Rates();
  /** Questions that the journal is writing down: they count as waiting, for many may arrive while the first is written. */
  readonly #entering = new Set<Question>();
  /** Tokens that were taken from the budgets when a question came in, until it is known how many it had. */
  readonly #reserved = new WeakMap<Question, number>();

  constructor(bounds: QueueBounds, inside: Inside, speeds: Speeds, clock: Clock) {
    this.#bounds = bounds;
    this.#inside = inside;
    this.#speeds = speeds;
    this.#clock = clock;
  }

  /** Why the question cannot be taken now; undefined lets it in, and its sender is charged. */
  refusal(question: Question): RequestError | undefined {
    const nowMs = this.#clock.nowMs();
    const waiting = [...this.#inside.waiting(), ...this.#entering];
    const running = this.#inside.running();
    const estimateMs = (other: Question) => this.#speeds.estimateMs(other);
    const tokens = this.#speeds.estimateTokens(question);
    const fault =
      openFault(question, [...waiting, ...running.map((each) => each.question)], estimateMs(question)) ??
      this.#rates.fault(question, tokens, nowMs) ??
      admissionFault(question, {
        bounds: this.#bounds,
        waiting,
        running,
        concurrency: this.#inside.concurrency(),
        nowMs,
        estimateMs,
      });
    if (fault) return fault;
    this.#rates.spend(question, 1, tokens, nowMs);
    this.#reserved.set(question, tokens);
    return undefined;
  }

  /** The journal writes the question down; it counts as waiting meanwhile. */
  async enter(question: Question, written: Promise<void>): Promise<void> {
    this.#entering.add(question);
    try {
      await written;
    } catch (error) {
      // The same message will be offered again: it is not to be charged twice.
      this.#rates.spend(question, -1, -(this.#reserved.get(question) ?? 0), this.#clock.nowMs());
      throw error;
    } finally {
      this.#entering.delete(question);
    }
  }

  /** What the answer really had. Tokens out of the cache cost the board nothing. */
  used(question: Question, { promptTokens, cachedTokens, completionTokens }: Usage): void {
    const tokens = promptTokens - cachedTokens + completionTokens;
    this.#rates.spend(question, 0, tokens - (this.#reserved.get(question) ?? 0), this.#clock.nowMs());
  }
}
