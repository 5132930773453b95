// The way of one question: accept (durable) → admit → wait → run the task → reply → settle. Every accepted question gets
// exactly one final reply, whatever happens on the way; nothing here knows MQTT packets, files or the native library.
import type { QueueBounds, Running } from "../core/admission.ts";
import { type Attempts, describeAttempts, isDeadly, isSuspect } from "../core/attempts.ts";
import { PipitError, RequestError } from "../core/errors.ts";
import type { IncomingMessage } from "../core/message.ts";
import type { AcceptedQuestion, Clock, Journal, Logger } from "../core/ports.ts";
import { QuestionQueue } from "../core/question-queue.ts";
import { messageOfRecord, recordOf } from "../core/question-record.ts";
import { errorReply, replyTo } from "../core/reply.ts";
import type { Question } from "../core/request.ts";
import { isRedelivery } from "../core/return-address.ts";
import type { Route } from "../core/route.ts";
import { Speeds } from "../core/speeds.ts";
import { Doorkeeper } from "./doorkeeper.ts";
import type { Governor } from "./governor.ts";
import { type IntakeOptions, readQuestion } from "./intake.ts";
import type { Outbox } from "./outbox.ts";
import { type QuestionStop, QuestionStops } from "./question-stop.ts";
import { Replies } from "./replies.ts";
import type { Tasks } from "./tasks.ts";

/** Time that the last replies have to reach the broker when the agent stops. */
const FLUSH_MS = 1000;
const STOPPING = new RequestError("failed", "the agent is stopping; ask again");

export interface PipelineOptions extends IntakeOptions {
  bounds: QueueBounds;
  /** Questions worked on side by side: the sequences of the plan. */
  concurrency: () => number;
  governor: Pick<Governor, "current" | "forQuestion" | "expectedMs">;
}

export interface PipelineRooms {
  tasks: Tasks;
  journal: Journal;
  outbox: Outbox;
  clock: Clock;
  log: Logger;
}

interface Work extends Running {
  abort: AbortController;
}

export interface PipelineStatus {
  waiting: number;
  running: number;
  answered: number;
  refused: number;
  paused: boolean;
  lastAnswerWallMs: number | undefined;
}

export class Pipeline {
  readonly speeds: Speeds;
  readonly #replies: Replies;
  readonly #options: PipelineOptions;
  readonly #rooms: PipelineRooms;
  readonly #queue: QuestionQueue;
  readonly #door: Doorkeeper;
  #running = new Map<string, Work>();
  /** Questions that a process has died on: see `isSuspect`. */
  readonly #suspects = new Set<string>();
  /** Cancels the timer that answers `expired` while a question still waits. */
  #expiry = new Map<string, () => void>();
  #paused = false;
  readonly #stops = new QuestionStops(
    () => this.#running.size === 0,
    () => this.#pump(),
  );
  #stopped = false;
  #stopping: Promise<void> | undefined;
  /** Work that `stop` waits for: questions entering, running, and replies being journalled. */
  #unfinished = new Set<Promise<void>>();

  constructor(options: PipelineOptions, rooms: PipelineRooms) {
    this.#options = options;
    this.#rooms = rooms;
    const { bounds, concurrency, governor } = options;
    this.speeds = new Speeds((phase) => governor.expectedMs(phase));
    this.#queue = new QuestionQueue(bounds.maxQuestions);
    const inside = { waiting: () => this.#queue.waiting, running: () => this.running, concurrency };
    this.#door = new Doorkeeper(bounds, inside, this.speeds, rooms.clock);
    this.#replies = new Replies(rooms, this.speeds, () => governor.current);
  }

  get status(): PipelineStatus {
    return {
      waiting: this.#queue.length,
      running: this.#running.size,
      answered: this.#replies.answered,
      refused: this.#replies.refused,
      paused: this.#paused,
      lastAnswerWallMs: this.#replies.lastAnswerWallMs,
    };
  }

  get running(): readonly Running[] {
    return [...this.#running.values()];
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
    if (!intake.question) return this.#replies.refuse(intake.addressee, intake.error);
    const { question } = intake;
    if (question.unknownFields.length > 0) {
      log.debug({ id: question.id, fields: question.unknownFields }, "ignored unknown request fields");
    }
    const earlier = message.packetId === undefined ? undefined : journal.acceptedAs(message.packetId);
    if (earlier !== undefined && isRedelivery(earlier, question, message)) question.key = earlier;
    const record = recordOf(message, question, clock.wallMs());
    const state = journal.state(question.key);
    if (state !== "unknown") {
      const reply = journal.reply(question.key);
      log.debug({ id: question.id, state }, "a question that is known already");
      // The first copy may still be on its way to the disk: this one is as safe as that, and no sooner.
      await (reply ? outbox.repeat(question.key, reply) : journal.accept(record));
      return;
    }
    const refusal = this.#door.refusal(question);
    if (refusal) return this.#replies.refuse(question, refusal);
    await this.#until(this.#door.enter(question, journal.accept(record)).then(() => this.#enqueue(question)));
  }

  /** A question that was accepted before a restart, and what became of the attempts to answer it. */
  resume(record: AcceptedQuestion, attempts: Attempts, route: Route): Promise<void> {
    const { clock, outbox } = this.#rooms;
    const intake = readQuestion(messageOfRecord(record, clock.nowMs(), clock.wallMs()), route, this.#options);
    if (!intake.question) {
      const { addressee, error } = intake;
      if (!addressee) return this.#replies.refuse(addressee, error);
      return outbox.deliver(record.key, replyTo(addressee, errorReply(error, route.task), clock.nowMs()));
    }
    const { question } = intake;
    question.key = record.key;
    // The time left is ours; whether the reply may expire was the asker's to say.
    question.expiresMs = undefined;
    if (isDeadly(attempts)) return this.#bury(question, attempts);
    if (isSuspect(attempts)) this.#suspects.add(question.key);
    return this.#enqueue(question);
  }

  /** Ends a waiting or running question with `cancelled`; false when no such id is in work. */
  cancel(id: string): boolean {
    const reason = new RequestError("cancelled", "cancelled by request");
    const waiting = this.#queue.remove((question) => question.id === id);
    for (const question of waiting) void this.#until(this.#fail(question, reason));
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

  /** No question is begun until it is released: models are changed between questions. */
  stopQuestions(): QuestionStop {
    return this.#stops.begin();
  }

  /**
   * Takes nothing new, lets running answers end for `graceMs`, then refuses what is left. With a durable journal the
   * waiting questions stay in it for the next start instead of being refused.
   */
  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    const { clock, outbox } = this.#rooms;
    for (const question of this.#queue.remove(() => true)) void this.#until(this.#leave(question));
    const cancelAbort = clock.after(graceMs, () => {
      for (const { abort } of this.#running.values()) abort.abort(STOPPING);
      // A reply that the journal has not taken by now stays unsaid.
      outbox.stop();
    });
    while (this.#unfinished.size > 0) await Promise.allSettled(this.#unfinished);
    cancelAbort();
    await outbox.flush(FLUSH_MS);
  }

  /** What becomes of a question that nobody will work on: in a durable journal it waits for the next start. */
  async #leave(question: Question): Promise<void> {
    this.#release(question);
    if (!this.#rooms.journal.durable) await this.#fail(question, STOPPING);
  }

  /** `stop` waits for what passes through here. */
  async #until(work: Promise<void>): Promise<void> {
    this.#unfinished.add(work);
    try {
      await work;
    } finally {
      this.#unfinished.delete(work);
    }
  }

  async #enqueue(question: Question): Promise<void> {
    if (this.#stopped) return this.#leave(question);
    const { clock } = this.#rooms;
    this.#queue.push(question);
    this.#expiry.set(
      question.key,
      clock.after(question.deadlineMs - clock.nowMs(), () => this.#expire(question)),
    );
    this.#pump();
  }

  /** The question is over, or is left to the next start. */
  #release({ key }: Question): void {
    this.#expiry.get(key)?.();
    this.#expiry.delete(key);
    this.#suspects.delete(key);
  }

  #expire(question: Question): void {
    const allowedMs = Math.round(question.deadlineMs - question.arrivedMs);
    const expired = new RequestError("expired", `no answer within the ${allowedMs} ms allowed`);
    this.#running.get(question.key)?.abort.abort(expired);
    if (this.#queue.remove((other) => other === question).length > 0) {
      void this.#until(this.#fail(question, expired));
    }
  }

  #pump(): void {
    while (this.#mayBegin) {
      const question = this.#queue.take(this.#rooms.clock.nowMs(), (next) => this.#mayRun(next));
      if (question === undefined) break;
      const abort = new AbortController();
      const hold = this.#options.governor.forQuestion(question.route.courtesy);
      const done = this.#rest(hold.pauseMs, abort.signal)
        .then(() => this.#work(question, abort.signal))
        .finally(() => {
          hold.end();
          this.#running.delete(question.key);
          this.#stops.ended();
          this.#pump();
        });
      this.#running.set(question.key, { question, abort, begunMs: this.#rooms.clock.nowMs() });
      void this.#until(done);
    }
  }

  get #mayBegin(): boolean {
    const held = this.#paused || this.#stopped || this.#stops.active;
    return !held && this.#running.size < this.#options.concurrency();
  }

  /** A suspect runs alone. */
  #mayRun({ key }: Question): boolean {
    if (this.#running.size === 0) return true;
    return !this.#suspects.has(key) && ![...this.#running.keys()].some((other) => this.#suspects.has(other));
  }

  /** A pause that heat or courtesy asks for before a question; none usually. */
  #rest(pauseMs: number, signal: AbortSignal): Promise<void> {
    if (pauseMs === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.#rooms.clock.after(pauseMs, resolve);
      signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
  }

  async #work(question: Question, signal: AbortSignal): Promise<void> {
    const { clock, journal } = this.#rooms;
    const begunMs = clock.nowMs();
    journal.begin(question.key);
    try {
      const result = await this.#rooms.tasks.run(question, signal);
      this.#release(question);
      this.#door.used(question, result.usage);
      await this.#replies.succeed(question, result, begunMs);
    } catch (error) {
      if (error instanceof PipitError && error.code === "engine_died" && !signal.aborted) return this.#again(question);
      const reason: unknown = signal.aborted ? signal.reason : error;
      if (reason !== STOPPING || !journal.durable) return this.#fail(question, reason);
      // With a durable journal the question is asked again at the next start, so it gets no reply now.
      journal.interrupt(question.key, "stop");
      this.#release(question);
    }
  }

  /** The model's process died under the question: back into the line, unless that has happened before. */
  async #again(question: Question): Promise<void> {
    const attempts = this.#rooms.journal.interrupt(question.key, "death");
    if (isDeadly(attempts)) return this.#bury(question, attempts);
    if (this.#stopped) return this.#leave(question);
    this.#suspects.add(question.key);
    this.#queue.push(question);
  }

  async #bury(question: Question, attempts: Attempts): Promise<void> {
    await this.#fail(question, new RequestError("failed", `given up: ${describeAttempts(attempts)}`));
    this.#rooms.journal.bury(question.key);
  }

  #fail(question: Question, error: unknown): Promise<void> {
    this.#release(question);
    return this.#replies.fail(question, error);
  }
}
