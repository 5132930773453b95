// Replies on their way out: journalled, published, settled when the broker has acknowledged, repeated byte for byte when
// the link fell in between.
import { PipitError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock, Journal, Link, Logger } from "../core/ports.ts";

/** Pause before the journal is tried again, for instance on a full disk. */
const JOURNAL_RETRY_MS = 1000;

export class Outbox {
  readonly #journal: Journal;
  readonly #link: Pick<Link, "publish">;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Answered, not yet acknowledged by the broker. */
  #unsettled = new Map<string, OutgoingMessage>();
  #sending = new Set<string>();
  #stopped = false;

  constructor(journal: Journal, link: Pick<Link, "publish">, clock: Clock, log: Logger) {
    this.#journal = journal;
    this.#link = link;
    this.#clock = clock;
    this.#log = log;
  }

  get length(): number {
    return this.#unsettled.size;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** The final reply of an accepted question. Resolves when it is durable and one attempt to publish it has been made. */
  async deliver(key: string, reply: OutgoingMessage): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#journal.answer(key, reply);
        break;
      } catch (error) {
        this.#log.warn({ error, key }, "the journal does not take the reply; trying again");
        await new Promise<void>((resolve) => this.#clock.after(JOURNAL_RETRY_MS, resolve));
      }
    }
    await this.repeat(key, reply);
  }

  /** Publishes a journalled reply, again if need be. */
  async repeat(key: string, reply: OutgoingMessage): Promise<void> {
    this.#unsettled.set(key, reply);
    await this.#send(key, reply);
  }

  /** A refusal: nothing was accepted, so nothing is journalled; rejects when it could not be published. */
  async refuse(reply: OutgoingMessage): Promise<void> {
    await this.#link.publish(reply);
  }

  /** For a new connection: everything that the broker has not acknowledged. */
  async resend(): Promise<void> {
    await Promise.all([...this.#unsettled].map(([key, reply]) => this.#send(key, reply)));
  }

  async #send(key: string, reply: OutgoingMessage): Promise<void> {
    if (this.#sending.has(key)) return;
    this.#sending.add(key);
    try {
      await this.#link.publish(reply);
      this.#unsettled.delete(key);
      this.#journal.settle(key);
    } catch (error) {
      const reason = error instanceof PipitError ? error.message : String(error);
      this.#log.debug({ key, reason }, "the reply waits for the next connection");
    } finally {
      this.#sending.delete(key);
    }
  }
}
