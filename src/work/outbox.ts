// Replies on their way out: journalled, published, settled when the broker has acknowledged, repeated byte for byte when
// the link fell in between.
import { PipitError, toError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Journal, Link, Logger } from "../core/ports.ts";
import { failedInstead } from "../core/reply.ts";

/** Pause before the journal is tried again, for instance on a full disk. */
const JOURNAL_RETRY_MS = 1000;
/** Pause before a reply that the broker would not take for now is offered again, over its quota for instance. */
const REFUSED_RETRY_MS = 5000;
/** A full disk has no room for a line about each reply and attempt: one at first, then one in this time. */
const WARN_AGAIN_MS = 60_000;

export class Outbox {
  readonly #journal: Journal;
  readonly #link: Pick<Link, "publish">;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Answered, not yet acknowledged by the broker. */
  #unsettled = new Map<string, OutgoingMessage>();
  /** Attempts under way. */
  #sending = new Map<string, Promise<void>>();
  /** Wakes those who wait before the journal is tried again. */
  #retries = new Set<() => void>();
  /** Cancel what is to be offered again. */
  #offers = new Set<() => void>();
  /** Replies that the journal has not taken yet, and whether a line has told of them since they were none. */
  #waiting = new Set<string>();
  #told = false;
  #warnAgainMs = -Infinity;
  #stopped = false;
  #attempts = 0;

  constructor(journal: Journal, link: Pick<Link, "publish">, clock: Clock, log: Logger) {
    this.#journal = journal;
    this.#link = link;
    this.#clock = clock;
    this.#log = log;
  }

  get length(): number {
    return this.#unsettled.size;
  }

  /** Times the journal was asked to take a reply: a full disk is no standstill. */
  get attempts(): number {
    return this.#attempts;
  }

  /** No more attempts to journal a reply, nor to offer one again: whoever waits is let go. */
  stop(): void {
    this.#stopped = true;
    for (const wake of [...this.#retries]) wake();
    for (const cancel of this.#offers) cancel();
  }

  /**
   * The final reply of an accepted question. Resolves when it is durable; it is published meanwhile, so that the model
   * does not wait for the broker. After `stop` a reply that could not be journalled is dropped: its question is still open.
   */
  async deliver(key: string, reply: OutgoingMessage): Promise<void> {
    if (await this.#journalled(key, reply)) void this.repeat(key, reply);
  }

  /** Publishes a journalled reply, again if need be; resolves when one attempt has been made. */
  async repeat(key: string, reply: OutgoingMessage): Promise<void> {
    this.#unsettled.set(key, reply);
    const sent = this.#sending.get(key) ?? this.#send(key, reply).finally(() => this.#sending.delete(key));
    this.#sending.set(key, sent);
    await sent;
  }

  /** A refusal: nothing was accepted, so nothing is journalled. Rejects when it could not be published for now. */
  async refuse(reply: OutgoingMessage): Promise<void> {
    try {
      await this.#link.publish(reply);
    } catch (error) {
      if (!isLasting(error)) throw error;
      this.#log.warn({ topic: reply.topic, err: error }, "the broker takes no reply on this topic");
    }
  }

  /** For a new connection: everything that the broker has not acknowledged. */
  async resend(): Promise<void> {
    await Promise.all([...this.#unsettled].map(([key, reply]) => this.repeat(key, reply)));
  }

  /** Resolves when every attempt under way has ended, or after `mostMs`: a broker may be silent for long. */
  async flush(mostMs: number): Promise<void> {
    let cancel = () => {};
    const late = new Promise<void>((resolve) => (cancel = this.#clock.after(mostMs, resolve)));
    await Promise.race([Promise.all(this.#sending.values()), late]);
    cancel();
  }

  async #journalled(key: string, reply: OutgoingMessage): Promise<boolean> {
    for (;;) {
      this.#attempts += 1;
      try {
        await this.#journal.answer(key, reply);
        this.#taken(key);
        return true;
      } catch (error) {
        this.#notTaken(key, error);
        if (!this.#stopped) await this.#pause();
        if (this.#stopped) return false;
      }
    }
  }

  #notTaken(key: string, error: unknown): void {
    this.#waiting.add(key);
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#warnAgainMs) return;
    this.#warnAgainMs = nowMs + WARN_AGAIN_MS;
    this.#told = true;
    const known = error instanceof PipitError && error.kind === "transient";
    const why = known ? { reason: error.message } : { err: error };
    this.#log.warn(
      { waiting: this.#waiting.size, ...why },
      "the journal does not take replies: tried again every second",
    );
  }

  #taken(key: string): void {
    if (!this.#waiting.delete(key) || this.#waiting.size > 0 || !this.#told) return;
    this.#told = false;
    this.#log.info({}, "the journal takes replies again");
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.#retries.delete(wake);
        resolve();
      };
      const cancel = this.#clock.after(JOURNAL_RETRY_MS, wake);
      this.#retries.add(wake);
    });
  }

  #offerLater(key: string): void {
    const cancel = this.#clock.after(REFUSED_RETRY_MS, () => {
      this.#offers.delete(cancel);
      const reply = this.#unsettled.get(key);
      if (reply) void this.repeat(key, reply);
    });
    this.#offers.add(cancel);
  }

  /** What the broker takes no packet of that size for is replaced by a short reply that says so. */
  async #publish(reply: OutgoingMessage): Promise<void> {
    try {
      await this.#link.publish(reply);
    } catch (error) {
      if (!(error instanceof PipitError) || error.code !== "too_large") throw error;
      this.#log.warn({ topic: reply.topic, reason: error.message }, "the asker is told instead of answered");
      await this.#link.publish(failedInstead(reply, `the reply cannot be sent: ${error.message}`));
    }
  }

  async #send(key: string, reply: OutgoingMessage): Promise<void> {
    try {
      await this.#publish(reply);
    } catch (error) {
      if (!isLasting(error)) {
        this.#log.debug({ key, reason: toError(error).message }, "the reply waits");
        if (isRefusal(error)) this.#offerLater(key);
        return;
      }
      this.#log.warn({ topic: reply.topic, err: error }, "the broker takes no reply on this topic");
    }
    this.#unsettled.delete(key);
    this.#journal.settle(key);
  }
}

/** The connection stands, and with it nothing would bring the reply again. */
function isRefusal(error: unknown): boolean {
  return error instanceof PipitError && error.code === "publish_refused";
}

/** Refused for good, by the broker's access list for instance: the same again would be refused again. */
function isLasting(error: unknown): boolean {
  return error instanceof PipitError && error.kind === "request";
}
