// The way of one question: accept (durable) → admit → wait → run the task → reply → settle. Every accepted question gets
// exactly one final reply, whatever happens on the way; nothing here knows MQTT packets, files or the native library.
import { admissionFault } from "../core/admission.ts";
import { PipitError, RequestError, toError } from "../core/errors.ts";
import type { IncomingMessage } from "../core/message.ts";
import type { AcceptedQuestion, Clock, Journal, Logger } from "../core/ports.ts";
import { QuestionQueue } from "../core/question-queue.ts";
import { messageOfRecord, recordOf } from "../core/question-record.ts";
import { type Addressee, errorReply, type Reply, replyTo } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import type { Route } from "../core/route.ts";
import { Speeds } from "../core/speeds.ts";
import type { Governor } from "./governor.ts";
import { type IntakeOptions, readQuestion } from "./intake.ts";
import type { Outbox } from "./outbox.ts";
import type { TaskResult, Tasks } from "./tasks.ts";

/** A question that was begun this often without an end kills the model's process: it is not tried again. */
const MOST_STARTS = 2;

export interface PipelineOptions extends IntakeOptions {
  maxQuestions: number;
  /** Questions worked on side by side: the sequences of the plan. */
  concurrency: () => number;
  governor: Pick<Governor, "current" | "forQuestion">;
}

export interface PipelineRooms {
  tasks: Tasks;
  journal: Journal;
  outbox: Outbox;
  clock: Clock;
  log: Logger;
}

interface Running {
  question: Question;
  abort: AbortController;
  done: Promise<void>;
}

export interface PipelineStatus {
  waiting: number;
  running: number;
  answered: number;
  refused: number;
  paused: boolean;
}

export class Pipeline {
  readonly speeds = new Speeds();
  readonly #options: PipelineOptions;
  readonly #rooms: PipelineRooms;
  readonly #queue: QuestionQueue;
  #running = new Map<string, Running>();
  /** Cancels the timer that answers `expired` while a question still waits. */
  #expiry = new Map<string, () => void>();
  #paused = false;
  #stopped = false;
  #answered = 0;
  #refused = 0;
  #idleListeners: (() => void)[] = [];

  constructor(options: PipelineOptions, rooms: PipelineRooms) {
    this.#options = options;
    this.#rooms = rooms;
    this.#queue = new QuestionQueue(options.maxQuestions);
  }

  get status(): PipelineStatus {
    return {
      waiting: this.#queue.length,
      running: this.#running.size,
      answered: this.#answered,
      refused: this.#refused,
      paused: this.#paused,
    };
  }

  get isIdle(): boolean {
    return this.#running.size === 0 && this.#queue.length === 0;
  }

  /** Takes a request; resolves when it is safe to acknowledge it to the broker, rejects when the journal cannot take it. */
  async accept(message: IncomingMessage, route: Route): Promise<void> {
    const { clock, journal, outbox, log } = this.#rooms;
    if (message.retained) return log.debug({ topic: message.topic }, "ignored a retained question");
    if (this.#stopped) throw new PipitError("transient", "stopping", "the agent is stopping");
    const intake = readQuestion(message, route, this.#options);
    if (!intake.question) return this.#refuse(intake.addressee, intake.error);
    const { question } = intake;
    if (question.unknownFields.length > 0) {
      log.debug({ id: question.id, fields: question.unknownFields }, "ignored unknown request fields");
    }
    const state = journal.state(question.key);
    if (state !== "unknown") {
      const reply = journal.reply(question.key);
      log.debug({ id: question.id, state }, "a question that is known already");
      if (reply) await outbox.repeat(question.key, reply);
      return;
    }
    const refusal = this.#refusal(question);
    if (refusal) return this.#refuse(question, refusal);
    await journal.accept(recordOf(message, question, clock.wallMs()));
    this.#enqueue(question);
  }

  /** A question that was accepted before a restart, with the number of times it was begun. */
  resume(record: AcceptedQuestion, starts: number, route: Route): Promise<void> {
    const { clock, outbox } = this.#rooms;
    const intake = readQuestion(messageOfRecord(record, clock.nowMs(), clock.wallMs()), route, this.#options);
    if (!intake.question) {
      const { addressee, error } = intake;
      if (!addressee) return this.#refuse(addressee, error);
      return outbox.deliver(record.key, replyTo(addressee, errorReply(error, route.task), clock.nowMs()));
    }
    const { question } = intake;
    question.key = record.key;
    if (starts >= MOST_STARTS) return this.#bury(question);
    this.#enqueue(question);
    return Promise.resolve();
  }

  /** Ends a waiting or running question with `cancelled`; false when no such id is in work. */
  cancel(id: string): boolean {
    const reason = new RequestError("cancelled", "cancelled by request");
    const waiting = this.#queue.remove((question) => question.id === id);
    for (const question of waiting) void this.#finish(question, errorReply(reason, question.route.task));
    const running = [...this.#running.values()].filter(({ question }) => question.id === id);
    for (const { abort } of running) abort.abort(reason);
    return waiting.length + running.length > 0;
  }

  pause(): void {
    this.#paused = true;
  }

  resumeWork(): void {
    this.#paused = false;
    this.#pump();
  }

  /** Resolves when nothing is waiting or running. */
  whenIdle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => this.#idleListeners.push(resolve));
  }

  /**
   * Takes nothing new, lets running answers end for `graceMs`, then refuses what is left. With a durable journal the
   * waiting questions stay in it for the next start instead of being refused.
   */
  async stop(graceMs: number): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    const { clock, journal } = this.#rooms;
    const refusal = new RequestError("failed", "the agent is stopping; ask again");
    for (const cancel of this.#expiry.values()) cancel();
    const waiting = this.#queue.remove(() => true);
    if (!journal.durable) {
      await Promise.all(waiting.map((question) => this.#finish(question, errorReply(refusal, question.route.task))));
    }
    const cancelAbort = clock.after(graceMs, () => {
      for (const { abort } of this.#running.values()) abort.abort(refusal);
    });
    await Promise.all([...this.#running.values()].map(({ done }) => done));
    cancelAbort();
  }

  /** Why the question cannot be taken now; undefined admits it. */
  #refusal(question: Question): RequestError | undefined {
    const ahead = this.#queue.waiting.filter((other) => other.priority >= question.priority);
    const inWork = [...this.#running.values()].map((running) => running.question);
    const waitMs = [...ahead, ...inWork].reduce((sum, other) => sum + this.speeds.estimateMs(other), 0);
    return admissionFault({
      waiting: this.#queue.length,
      maxWaiting: this.#options.maxQuestions,
      startMs: waitMs / Math.max(1, this.#options.concurrency()),
      ownMs: this.speeds.estimateMs(question),
      leftMs: question.deadlineMs - this.#rooms.clock.nowMs(),
    });
  }

  async #refuse(addressee: Addressee | undefined, error: unknown): Promise<void> {
    const { clock, log, outbox } = this.#rooms;
    this.#refused += 1;
    if (!addressee) return log.warn({ err: toError(error) }, "a question cannot be answered anywhere");
    const reply = errorReply(error, addressee.route.task);
    log.info({ id: addressee.id, code: reply.code }, reply.message);
    await outbox.refuse(replyTo(addressee, reply, clock.nowMs()));
  }

  #enqueue(question: Question): void {
    const { clock } = this.#rooms;
    this.#queue.push(question);
    this.#expiry.set(
      question.key,
      clock.after(question.deadlineMs - clock.nowMs(), () => this.#expire(question)),
    );
    this.#pump();
  }

  #expire(question: Question): void {
    const expired = new RequestError(
      "expired",
      `no answer within the ${question.deadlineMs - question.arrivedMs} ms allowed`,
    );
    this.#running.get(question.key)?.abort.abort(expired);
    if (this.#queue.remove((other) => other === question).length > 0) {
      void this.#finish(question, errorReply(expired, question.route.task));
    }
  }

  #pump(): void {
    while (!this.#paused && !this.#stopped && this.#running.size < this.#options.concurrency()) {
      const question = this.#queue.take(this.#rooms.clock.nowMs());
      if (question === undefined) break;
      const abort = new AbortController();
      const hold = this.#options.governor.forQuestion(question.route.courtesy);
      const done = this.#rest(hold.pauseMs, abort.signal)
        .then(() => this.#work(question, abort.signal))
        .finally(() => {
          hold.end();
          this.#running.delete(question.key);
          this.#pump();
          this.#tellIdle();
        });
      this.#running.set(question.key, { question, abort, done });
    }
  }

  /** A pause that heat or courtesy asks for before a question; none usually. */
  #rest(pauseMs: number, signal: AbortSignal): Promise<void> {
    if (pauseMs === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#rooms.clock.after(pauseMs, resolve);
      signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
  }

  #tellIdle(): void {
    if (!this.isIdle) return;
    for (const resolve of this.#idleListeners.splice(0)) resolve();
  }

  async #work(question: Question, signal: AbortSignal): Promise<void> {
    const { clock, journal } = this.#rooms;
    const begunMs = clock.nowMs();
    for (;;) {
      if (journal.begin(question.key) > MOST_STARTS) return this.#bury(question);
      try {
        const result = await this.#rooms.tasks.run(question, signal);
        return await this.#finish(question, this.#success(question, result, begunMs));
      } catch (error) {
        if (error instanceof PipitError && error.code === "engine_died" && !signal.aborted) continue;
        const reason: unknown = signal.aborted ? signal.reason : error;
        // Stopping with a durable journal: the question is asked again at the next start, so it gets no reply now.
        if (this.#stopped && journal.durable && signal.aborted) return;
        if (!(reason instanceof PipitError)) this.#rooms.log.error({ err: reason }, "a question failed");
        return await this.#finish(question, errorReply(reason, question.route.task));
      }
    }
  }

  async #bury(question: Question): Promise<void> {
    const error = new RequestError("failed", `the model's process died ${MOST_STARTS} times on this question`);
    await this.#finish(question, errorReply(error, question.route.task));
    this.#rooms.journal.bury(question.key);
  }

  #success(question: Question, result: TaskResult, begunMs: number): Reply {
    const { prefillMs, generateMs, usage } = result;
    this.speeds.observe(question.route.name, usage, prefillMs, generateMs);
    const timing = {
      queueMs: begunMs - question.arrivedMs,
      prefillMs,
      generateMs,
      totalMs: this.#rooms.clock.nowMs() - question.arrivedMs,
    };
    return {
      status: "ok",
      ...result.outcome,
      model: result.model,
      usage,
      timing,
      plan: this.#options.governor.current,
    };
  }

  async #finish(question: Question, reply: Reply): Promise<void> {
    this.#expiry.get(question.key)?.();
    this.#expiry.delete(question.key);
    if (reply.status === "ok") this.#answered += 1;
    else this.#refused += 1;
    const { clock, log, outbox } = this.#rooms;
    const { id, route } = question;
    if (reply.status === "ok") log.info({ id, route: route.name, ...reply.timing, ...reply.usage }, "answered");
    else log.info({ id, route: route.name, code: reply.code }, reply.message);
    await outbox.deliver(question.key, replyTo(question, reply, clock.nowMs()));
  }
}
