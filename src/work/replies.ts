// What askers are told and how it is counted and logged; the outbox takes it from there.
import { PipitError, toError } from "../core/errors.ts";
import type { Plan } from "../core/plan.ts";
import type { Clock, Logger } from "../core/ports.ts";
import { type Addressee, errorReply, replyTo } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import type { Speeds } from "../core/speeds.ts";
import type { Outbox } from "./outbox.ts";
import { RefusalLines } from "./refusal-lines.ts";
import type { TaskResult } from "./tasks.ts";

export class Replies {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #speeds: Speeds;
  readonly #plan: () => Plan;
  readonly #refusals: RefusalLines;
  #answered = 0;
  #refused = 0;
  #lastAnswerWallMs: number | undefined;

  constructor(rooms: { outbox: Outbox; clock: Clock; log: Logger }, speeds: Speeds, plan: () => Plan) {
    this.#outbox = rooms.outbox;
    this.#clock = rooms.clock;
    this.#log = rooms.log;
    this.#speeds = speeds;
    this.#plan = plan;
    this.#refusals = new RefusalLines(rooms.log, rooms.clock);
  }

  get answered(): number {
    return this.#answered;
  }

  get refused(): number {
    return this.#refused;
  }

  /** When the last question was answered; undefined before the first one. */
  get lastAnswerWallMs(): number | undefined {
    return this.#lastAnswerWallMs;
  }

  /** Answers a message that was not accepted. Without an addressee the route's reply template is at fault. */
  async refuse(addressee: Addressee | undefined, error: unknown): Promise<void> {
    this.#refused += 1;
    if (!addressee) return this.#log.warn({ err: toError(error) }, "a question cannot be answered anywhere");
    const reply = errorReply(error, addressee.route.task);
    this.#refusals.tell({ id: addressee.id, code: reply.code }, reply.message);
    await this.#outbox.refuse(replyTo(addressee, reply, this.#clock.nowMs()));
  }

  /** The final reply of an accepted question that found no answer; resolves when it is durable. */
  async fail(question: Question, error: unknown): Promise<void> {
    this.#refused += 1;
    const { id, key, route } = question;
    const reply = errorReply(error, route.task);
    if (!(error instanceof PipitError)) this.#log.error({ id, err: error }, "a question failed");
    this.#log.info({ id, route: route.name, code: reply.code }, reply.message);
    await this.#outbox.deliver(key, replyTo(question, reply, this.#clock.nowMs()));
  }

  /** The final reply of an answered question; resolves when it is durable. */
  async succeed(question: Question, result: TaskResult, begunMs: number): Promise<void> {
    this.#answered += 1;
    this.#lastAnswerWallMs = this.#clock.wallMs();
    const { id, key, route, arrivedMs } = question;
    const { outcome, model, prefillMs, generateMs, usage } = result;
    const nowMs = this.#clock.nowMs();
    this.#speeds.observe(route, usage, prefillMs, generateMs);
    const timing = { queueMs: begunMs - arrivedMs, prefillMs, generateMs, totalMs: nowMs - arrivedMs };
    this.#log.info({ id, route: route.name, ...timing, ...usage }, "answered");
    const receipt = { model, usage, timing, plan: this.#plan() };
    await this.#outbox.deliver(key, replyTo(question, { status: "ok", ...outcome, ...receipt }, nowMs));
  }
}
