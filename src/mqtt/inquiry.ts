// One question of the asker, from the first sending to its reply: repeats, deadline, the order of the streamed pieces. Every
// repeat has the same bytes, because the agent tells questions apart by them; only the message expiry counts down.
import { PipitError, toError } from "../core/errors.ts";
import type { Clock } from "../core/ports.ts";
import type { PartialJson, ReplyJson } from "./client-reply.ts";
import type { Connection } from "./connection.ts";

const MAX_REPEAT_MS = 60_000;

export interface InquiryOptions {
  id: string;
  topic: string;
  payload: Uint8Array;
  replyTopic: string;
  deadlineMs: number;
  repeatAfterMs: number;
}

export class Inquiry {
  /** Resolves with the reply, also one that says `error`; rejects when none has come in time. */
  readonly reply: Promise<ReplyJson>;
  readonly #options: InquiryOptions;
  readonly #connection: () => Connection | undefined;
  readonly #clock: Clock;
  readonly #onPiece: ((piece: string) => void) | undefined;
  readonly #deadlineAtMs: number;
  readonly #cancelDeadline: () => void;
  #resolve: (reply: ReplyJson) => void = () => {};
  #reject: (reason: unknown) => void = () => {};
  #settled = false;
  #repeatMs: number;
  #cancelRepeat: () => void = () => {};
  /** The broker has acknowledged the question at least once. */
  #delivered = false;
  #lastSeq = -1;

  constructor(
    options: InquiryOptions,
    connection: () => Connection | undefined,
    clock: Clock,
    onPiece?: (piece: string) => void,
  ) {
    this.#options = options;
    this.#connection = connection;
    this.#clock = clock;
    this.#onPiece = onPiece;
    this.#repeatMs = options.repeatAfterMs;
    this.#deadlineAtMs = clock.nowMs() + options.deadlineMs;
    this.reply = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#cancelDeadline = clock.after(options.deadlineMs, () => this.fail(this.#timeUp()));
  }

  /** Sends the question, now or as soon as there is a connection, and again until it is settled. */
  send(): void {
    if (this.#settled) return;
    this.#cancelRepeat();
    const connection = this.#connection();
    if (connection === undefined) return;
    this.#cancelRepeat = this.#clock.after(this.#repeatMs, () => this.send());
    this.#repeatMs = Math.min(this.#repeatMs * 2, MAX_REPEAT_MS);
    void this.#publish(connection);
  }

  succeed(reply: ReplyJson): void {
    if (this.#settle()) this.#resolve(reply);
  }

  fail(reason: unknown): void {
    if (this.#settle()) this.#reject(reason);
  }

  /** A piece that came twice, because the question was asked again, is shown once. */
  take({ seq, text }: PartialJson): void {
    if (this.#settled || seq <= this.#lastSeq) return;
    this.#lastSeq = seq;
    // The agent is at work: no need to ask again soon.
    this.#cancelRepeat();
    this.#cancelRepeat = this.#clock.after(this.#repeatMs, () => this.send());
    try {
      if (text !== "") this.#onPiece?.(text);
    } catch (error) {
      this.fail(error);
    }
  }

  async #publish(connection: Connection): Promise<void> {
    const { id, topic, payload, replyTopic } = this.#options;
    const expirySeconds = Math.max(1, (this.#deadlineAtMs - this.#clock.nowMs()) / 1000);
    const correlationData = new TextEncoder().encode(id);
    try {
      await connection.publish({
        topic,
        payload,
        responseTopic: replyTopic,
        correlationData,
        expirySeconds,
        text: true,
      });
      this.#delivered = true;
    } catch (error) {
      // A link that fell is the next connection's business; what the broker refuses for good is not.
      if (error instanceof PipitError && error.kind !== "transient") this.fail(toError(error));
    }
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#cancelDeadline();
    this.#cancelRepeat();
    return true;
  }

  #timeUp(): PipitError {
    const { deadlineMs, topic } = this.#options;
    if (this.#delivered) {
      return new PipitError("transient", "no_answer", `no answer from ${topic} within ${deadlineMs} ms`);
    }
    return new PipitError("transient", "unreachable", `the broker took no question within ${deadlineMs} ms`);
  }
}
