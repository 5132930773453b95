// Keeps one connection to the broker alive for as long as it runs: attempts without end, full-jitter back-off after every
// failure (a refused CONNACK too), MQTT 5 first and 3.1.1 when the server refuses it. What a connection is for is the
// business of the callbacks; link.ts is the agent's, client.ts the asker's.
import type { IClientOptions } from "mqtt";
import { PipitError, toError } from "../core/errors.ts";
import type { Health } from "../core/health.ts";
import type { Clock, LinkState, LinkStatus, Logger } from "../core/ports.ts";
import { Backoff } from "./backoff.ts";
import type { BackoffOptions } from "./backoff.ts";
import { withoutSecrets } from "./broker-url.ts";
import { Connection } from "./connection.ts";
import type { Receiver } from "./connection.ts";
import { linkDown } from "./faults.ts";
import type { ProtocolVersion } from "./packets.ts";

/** A clock that is wrong at boot is usually set within seconds of the network coming up: do not wait a minute for it. */
const CLOCK_RETRY_MS = 5_000;
/** A broker that lets us in and then says nothing more is left and tried again. */
const READY_TIMEOUT_MS = 30_000;
/** How much later than it should a step of the loop may end before the loop counts as stuck. */
const SLACK_MS = 30_000;

export interface SessionOptions {
  url: string;
  protocol: "auto" | "5" | "3.1.1";
  backoff: BackoffOptions;
  /** For TCP, TLS and CONNACK. */
  connectTimeoutMs: number;
  /** Options of the next attempt, made afresh each time so that rotated keys and passwords count. */
  clientOptions(version: ProtocolVersion): Promise<IClientOptions>;
}

export interface SessionEvents {
  receive: Receiver;
  /** Makes a fresh connection ready for use; when it rejects, the connection is given up and the next attempt follows. */
  ready(connection: Connection): Promise<void>;
  /** The state has changed. */
  changed?(status: LinkStatus): void;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #events: SessionEvents;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  #version: ProtocolVersion;
  #status: LinkStatus = { state: "offline", connects: 0 };
  #connection: Connection | undefined;
  #loop: Promise<void> | undefined;
  #steps = 0;
  #doing: Health["doing"];

  constructor(options: SessionOptions, events: SessionEvents, logger: Logger, clock: Clock) {
    this.#options = options;
    this.#events = events;
    this.#logger = logger;
    this.#clock = clock;
    this.#backoff = new Backoff(options.backoff);
    this.#version = options.protocol === "3.1.1" ? 4 : 5;
  }

  get status(): LinkStatus {
    return this.#status;
  }

  /** The connection, from CONNACK to its end. */
  get connection(): Connection | undefined {
    return this.#connection;
  }

  get stopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  /** An attempt and the wait after it owe their end; a connection that stands owes nothing, its keepalive watches over it. */
  health(): Health {
    return { steps: this.#steps, ...(this.#doing && { doing: this.#doing }) };
  }

  start(): void {
    if (!this.stopping) this.#loop ??= this.#run();
  }

  /** No more attempts; `farewell` has the connection, if there is one, for at most `timeoutMs` before it is closed. */
  async stop(timeoutMs: number, farewell?: (connection: Connection) => Promise<void>): Promise<void> {
    this.#stopping.abort();
    const connection = this.#connection;
    if (connection) {
      let release = () => {};
      const deadline = new Promise<void>((resolve) => (release = this.#clock.after(timeoutMs, resolve)));
      const farewellSaid = farewell?.(connection).catch((error: unknown) => {
        this.#logger.warn({ reason: toError(error).message }, "left the broker without a farewell");
      });
      await Promise.race([farewellSaid, deadline]);
      await connection.close(deadline);
      release();
    }
    await this.#loop;
    this.#owe(undefined);
    this.#enter("offline", "stopped");
  }

  async #run(): Promise<void> {
    while (!this.stopping) {
      const waitMs = await this.#attempt();
      if (this.stopping) return;
      this.#logger.info({ wait_ms: Math.round(waitMs) }, "next connection attempt");
      this.#owe({ what: "the wait before an attempt", stepMs: waitMs + SLACK_MS });
      await this.#pause(waitMs);
    }
  }

  /** One connection from the attempt to its end; returns how long to wait before the next. */
  async #attempt(): Promise<number> {
    const broker = withoutSecrets(this.#options.url);
    let upSinceMs: number | undefined;
    let clockNotSet = false;
    let reason: string;
    this.#enter("connecting", this.#status.reason);
    // With another version of the protocol after the first, perhaps.
    const attemptMs = 2 * this.#options.connectTimeoutMs + READY_TIMEOUT_MS;
    this.#owe({ what: "an attempt to connect", stepMs: attemptMs + SLACK_MS });
    try {
      const connection = await this.#open();
      this.#connection = connection;
      if (this.stopping) throw linkDown("stopped");
      await this.#whenReady(connection);
      this.#owe(undefined);
      upSinceMs = this.#clock.nowMs();
      const { sessionPresent: session_present } = connection;
      this.#logger.info({ broker, version: connection.version, session_present }, "connected to the broker");
      this.#status = { ...this.#status, connects: this.#status.connects + 1, protocolVersion: connection.version };
      this.#enter("online");
      reason = await connection.closed;
    } catch (thrown) {
      const error = toError(thrown);
      clockNotSet = error instanceof PipitError && error.code === "clock_not_set";
      reason = error.message;
      this.#connection?.cut(reason);
      await this.#connection?.closed;
    }
    this.#connection = undefined;
    this.#enter("offline", reason);
    if (!this.stopping) this.#logger.warn({ broker, reason }, "no connection to the broker");
    if (upSinceMs !== undefined) this.#backoff.ended(this.#clock.nowMs() - upSinceMs, this.#clock.nowMs());
    const waitMs = this.#backoff.next();
    return clockNotSet ? Math.min(waitMs, CLOCK_RETRY_MS) : waitMs;
  }

  async #whenReady(connection: Connection): Promise<void> {
    let release = () => {};
    const silent = new Promise<string>((resolve) => {
      const reason = `the broker has let us in and then said nothing for ${READY_TIMEOUT_MS / 1000} s`;
      release = this.#clock.after(READY_TIMEOUT_MS, () => resolve(reason));
    });
    try {
      const fallen = await Promise.race([this.#events.ready(connection), connection.closed, silent]);
      if (fallen !== undefined) throw linkDown(fallen);
    } finally {
      release();
    }
  }

  #owe(doing: Health["doing"]): void {
    this.#steps += 1;
    this.#doing = doing;
  }

  async #open(): Promise<Connection> {
    const version = this.#version;
    try {
      return await this.#openWith(version);
    } catch (error) {
      const refused = error instanceof PipitError && error.code === "protocol_refused";
      if (!refused || this.#options.protocol !== "auto") throw error;
      // Kept for later attempts: the version that was accepted last is tried first.
      this.#version = version === 5 ? 4 : 5;
      this.#logger.info({ refused: version, next: this.#version }, "the broker refuses this MQTT version");
      return await this.#openWith(this.#version);
    }
  }

  async #openWith(version: ProtocolVersion): Promise<Connection> {
    const options = await this.#options.clientOptions(version);
    const { signal } = this.#stopping;
    return Connection.open(this.#options.url, options, this.#events.receive, this.#clock, signal);
  }

  #enter(state: LinkState, reason?: string): void {
    const { reason: _, ...rest } = this.#status;
    if (this.#status.state === state && this.#status.reason === reason) return;
    this.#status = reason === undefined ? { ...rest, state } : { ...rest, state, reason };
    this.#events.changed?.(this.#status);
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const { signal } = this.#stopping;
      const done = () => {
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.#clock.after(delayMs, done);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
