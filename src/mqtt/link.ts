// The agent's side of the broker, behind the `Link` port: subscriptions, the birth and will of the availability topic, and the
// promise that a question is acknowledged only when its handler says so. What it does not do: keep anything. A publish that
// is not acknowledged when the link falls is rejected, and the journal's outbox repeats it.
import { setMaxListeners } from "node:events";
import { PipitError, toError } from "../core/errors.ts";
import type { Health, HealthSource } from "../core/health.ts";
import type { IncomingMessage, OutgoingMessage } from "../core/message.ts";
import type { Clock, Link, LinkStatus, Logger, MessageHandler } from "../core/ports.ts";
import type { Connection } from "./connection.ts";
import { linkDown } from "./faults.ts";
import { KnownFilters } from "./known-filters.ts";
import { clientOptions, resolveLinkOptions } from "./link-options.ts";
import type { LinkOptions, ResolvedLinkOptions } from "./link-options.ts";
import { Session } from "./session.ts";
import { Subscriptions } from "./subscriptions.ts";

/** First wait before a message is offered again to a handler that has rejected it; doubles up to the limits below. */
const RETRY_MS = 1_000;
/** A disk that is full or read-only: back within five seconds of space. */
const MAX_TRANSIENT_RETRY_MS = 5_000;
const MAX_RETRY_MS = 60_000;

/** QoS 0 knows no back-pressure: beyond this many bytes that nobody has looked at yet, more of it is dropped, as it may be. */
const MAX_QOS0_BYTES = 1024 * 1024;
/** What a message takes besides its payload, about. */
const MESSAGE_BYTES = 1024;
const WARN_AGAIN_MS = 60_000;

export interface LinkEvents {
  onMessage: MessageHandler;
  /**
   * The link is ready: subscriptions granted, `online` published. The place to publish the retained state and to send the
   * outbox again. Called after every connection.
   */
  onOnline?(status: LinkStatus): void | Promise<void>;
  onStatus?(status: LinkStatus): void;
}

export class MqttLink implements Link, HealthSource {
  readonly room = "link";
  readonly #options: ResolvedLinkOptions;
  readonly #events: LinkEvents;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #session: Session;
  readonly #subscriptions: Subscriptions;
  readonly #known: KnownFilters;
  #qos0Bytes = 0;
  #qos0Dropped = 0;
  #warnAgainMs = -Infinity;
  #notTakenAgainMs = -Infinity;

  /** Throws a `config` PipitError that lists every fault of the options. */
  constructor(options: LinkOptions, events: LinkEvents, logger: Logger, clock: Clock) {
    this.#options = resolveLinkOptions(options);
    this.#subscriptions = new Subscriptions(this.#options.filters);
    this.#known = new KnownFilters(this.#options.filtersFile, logger);
    this.#events = events;
    this.#logger = logger;
    this.#clock = clock;
    const { url, protocol, backoff, connectTimeoutMs } = this.#options;
    this.#session = new Session(
      { url, protocol, backoff, connectTimeoutMs, clientOptions: (version) => clientOptions(this.#options, version) },
      {
        receive: (message, closed) => {
          if (this.#subscriptions.isCopy(message)) return Promise.resolve();
          return message.packetId === undefined ? this.#receiveQos0(message, closed) : this.#receive(message, closed);
        },
        ready: (connection) => this.#ready(connection),
        changed: (status) => this.#changed(status),
      },
      logger,
      clock,
    );
  }

  get status(): LinkStatus {
    return this.#session.status;
  }

  health(): Health {
    return this.#session.health();
  }

  /** Rejects with a `config` PipitError when a TLS file cannot be read; everything else is waited for. */
  async start(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    await clientOptions(this.#options, 5);
    if (this.#options.tls.insecure === true) {
      this.#logger.warn(
        {},
        "tls.insecure is set: the broker's certificate is not checked, anybody can play the broker",
      );
    }
    this.#session.start();
  }

  async stop(): Promise<void> {
    await this.#session.stop(this.#options.stopTimeoutMs, (connection) => this.#announce(connection, "offline"));
  }

  async publish(message: OutgoingMessage): Promise<void> {
    const connection = this.#session.connection;
    if (connection === undefined) throw linkDown(this.status.reason ?? "not connected yet");
    await connection.publish(message);
  }

  async #ready(connection: Connection): Promise<void> {
    const { filters, identifiers } = this.#subscriptions;
    const stale = this.#known.add(filters);
    const subscriptions = filters.length > 0 ? await connection.subscribe(filters, identifiers) : [];
    this.#subscriptions.grant(subscriptions.filter(({ granted }) => granted < 0x80).map(({ filter }) => filter));
    for (const { filter, granted } of subscriptions) {
      if (granted >= 0x80) {
        this.#logger.error(
          { filter, reason_code: granted },
          "the broker refuses this subscription: check its access list",
        );
      } else if (granted < 1) {
        this.#logger.warn({ filter }, "the broker grants QoS 0 only: questions can get lost");
      }
    }
    if (subscriptions.length > 0 && subscriptions.every(({ granted }) => granted >= 0x80)) {
      throw new PipitError("transient", "not_allowed", "the broker refuses every subscription: check its access list");
    }
    if (stale.length > 0) await this.#takeBack(connection, stale);
    // After a stop() in the meantime `offline` has been said, and must stay the last word.
    if (!this.#session.stopping) await this.#announce(connection, "online");
  }

  /** Of an earlier configuration: the broker would send us what matches for as long as it keeps the session. */
  async #takeBack(connection: Connection, stale: string[]): Promise<void> {
    try {
      await connection.unsubscribe(stale);
      this.#known.settle(this.#subscriptions.filters);
      this.#logger.info({ filters: stale }, "unsubscribed from what is no longer configured");
    } catch (error) {
      const fields = { filters: stale, reason: toError(error).message };
      this.#logger.warn(
        fields,
        "still subscribed to what is no longer configured: tried again with the next connection",
      );
    }
  }

  #announce(connection: Connection, state: "online" | "offline"): Promise<void> {
    const payload = new TextEncoder().encode(state);
    return connection.publish({ topic: this.#options.availabilityTopic, payload, retain: true, text: true });
  }

  #changed(status: LinkStatus): void {
    this.#events.onStatus?.(status);
    if (status.state === "online") void this.#online(status);
  }

  async #online(status: LinkStatus): Promise<void> {
    try {
      await this.#events.onOnline?.(status);
    } catch (error) {
      this.#logger.warn({ reason: toError(error).message }, "publishing after the connection did not finish");
    }
  }

  async #receiveQos0(message: IncomingMessage, closed: AbortSignal): Promise<void> {
    const bytes = message.payload.length + MESSAGE_BYTES;
    if (this.#qos0Bytes > 0 && this.#qos0Bytes + bytes > MAX_QOS0_BYTES) return this.#dropped();
    this.#qos0Bytes += bytes;
    try {
      await this.#receive(message, closed);
    } finally {
      this.#qos0Bytes -= bytes;
    }
  }

  #dropped(): void {
    this.#qos0Dropped += 1;
    const nowMs = this.#clock.nowMs();
    if (nowMs < this.#warnAgainMs) return;
    this.#warnAgainMs = nowMs + WARN_AGAIN_MS;
    const fields = { dropped: this.#qos0Dropped };
    this.#logger.warn(fields, "too many messages of QoS 0 at once: some are dropped unanswered, ask with QoS 1");
  }

  /**
   * Resolves when the message may be acknowledged. A handler that rejects is asked again while the connection lasts: the
   * broker would only repeat the message after a reconnect, and the place it takes meanwhile is the back-pressure we want.
   */
  async #receive(message: IncomingMessage, closed: AbortSignal): Promise<void> {
    let offered = message;
    for (let retryMs = RETRY_MS; ; retryMs *= 2) {
      if (this.#session.stopping) throw linkDown("stopping");
      try {
        await this.#events.onMessage(offered);
        return;
      } catch (thrown) {
        const error = toError(thrown);
        const transient = error instanceof PipitError && error.kind === "transient";
        const waitMs = Math.min(retryMs, transient ? MAX_TRANSIENT_RETRY_MS : MAX_RETRY_MS);
        const fields = { topic: message.topic, reason: error.message, wait_ms: waitMs };
        this.#notTaken(fields);
        await this.#wait(waitMs, closed);
        offered = { ...message, duplicate: true };
      }
    }
  }

  /** Many may wait for the same full disk, which has no room for a line about each. */
  #notTaken(fields: object): void {
    const nowMs = this.#clock.nowMs();
    const again = nowMs < this.#notTakenAgainMs;
    if (!again) this.#notTakenAgainMs = nowMs + WARN_AGAIN_MS;
    const sentence = "a message could not be taken: not acknowledged, offered again";
    if (again) this.#logger.debug(fields, sentence);
    else this.#logger.error(fields, sentence);
  }

  /** Rejects as soon as the connection has gone: then the broker repeats the message, not we. */
  #wait(delayMs: number, closed: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const gone = () => {
        cancel();
        reject(linkDown("connection closed"));
      };
      const cancel = this.#clock.after(delayMs, () => {
        closed.removeEventListener("abort", gone);
        resolve();
      });
      if (closed.aborted) return gone();
      // As many wait as there are messages: Node.js calls more than ten a leak.
      setMaxListeners(0, closed);
      closed.addEventListener("abort", gone, { once: true });
    });
  }
}
