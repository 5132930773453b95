// A link with a broker that fits in a map: sessions, unacknowledged messages and absence, without a socket.
import { PipitError } from "../../src/core/errors.ts";
import type { IncomingMessage, OutgoingMessage } from "../../src/core/message.ts";
import type { Clock, Link, LinkStatus } from "../../src/core/ports.ts";
import { matchFilter, withoutShare } from "../../src/core/topics.ts";
import type { LinkEvents } from "../../src/mqtt/link.ts";

export interface FakeLinkOptions {
  filters: readonly string[];
  availabilityTopic: string;
}

export class FakeLink implements Link {
  readonly published: OutgoingMessage[] = [];
  /** Set to hold or refuse what is published. */
  onPublish: (message: OutgoingMessage) => Promise<void> = () => Promise.resolve();
  readonly #options: FakeLinkOptions;
  readonly #events: LinkEvents;
  readonly #clock: Clock;
  #status: LinkStatus = { state: "offline", connects: 0 };
  #brokerIsUp: boolean;
  #running = false;
  /** The broker's queue for us: sent again on every connection until acknowledged. */
  #unacknowledged = new Set<Omit<IncomingMessage, "arrivedMs">>();

  constructor(options: FakeLinkOptions, events: LinkEvents, clock: Clock, brokerIsUp = true) {
    this.#options = options;
    this.#events = events;
    this.#clock = clock;
    this.#brokerIsUp = brokerIsUp;
  }

  get status(): LinkStatus {
    return this.#status;
  }

  async start(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (!this.#running) {
      this.#running = true;
      this.#connect();
    }
  }

  async stop(): Promise<void> {
    if (this.#running && this.#status.state === "online") await this.publish(this.#availability("offline"));
    this.#running = false;
    this.#enter({ state: "offline", reason: "stopped" });
  }

  async publish(message: OutgoingMessage): Promise<void> {
    const { connects, state, reason } = this.#status;
    if (state !== "online") throw down(reason);
    await this.onPublish(message);
    if (this.#status.connects !== connects || this.#status.state !== "online") throw down(this.#status.reason);
    this.published.push(message);
  }

  /** Somebody publishes to the agent; false when no subscription matches. */
  send(topic: string, payload: string | Uint8Array, more: Partial<IncomingMessage> = {}): boolean {
    const filters = this.#options.filters.map(withoutShare);
    if (!filters.some((filter) => matchFilter(filter, topic) !== undefined)) return false;
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const message = { topic, payload: bytes, retained: false, duplicate: false, ...more };
    this.#unacknowledged.add(message);
    if (this.#status.state === "online") void this.#deliver(message, false);
    return true;
  }

  /** The connection breaks; the next one follows at once while the broker is up. */
  cut(): void {
    if (this.#status.state !== "online") return;
    this.#enter({ state: "offline", reason: "cut" });
    this.#connect();
  }

  brokerDown(): void {
    this.#brokerIsUp = false;
    this.cut();
  }

  brokerUp(): void {
    this.#brokerIsUp = true;
    this.#connect();
  }

  #connect(): void {
    if (!this.#running || !this.#brokerIsUp || this.#status.state === "online") return;
    this.published.push(this.#availability("online"));
    this.#enter({ state: "online", connects: this.#status.connects + 1, protocolVersion: 5 });
    void this.#events.onOnline?.(this.#status);
    for (const message of this.#unacknowledged) void this.#deliver(message, true);
  }

  async #deliver(message: Omit<IncomingMessage, "arrivedMs">, duplicate: boolean): Promise<void> {
    const { connects } = this.#status;
    try {
      await this.#events.onMessage({ ...message, duplicate, arrivedMs: this.#clock.nowMs() });
      if (this.#status.connects === connects && this.#status.state === "online") this.#unacknowledged.delete(message);
    } catch {
      // Not acknowledged: it comes again with the next connection.
    }
  }

  #availability(state: "online" | "offline"): OutgoingMessage {
    return { topic: this.#options.availabilityTopic, payload: new TextEncoder().encode(state), retain: true };
  }

  #enter(change: Partial<LinkStatus> & Pick<LinkStatus, "state">): void {
    const { reason: _, ...rest } = this.#status;
    this.#status = { ...rest, ...change };
    this.#events.onStatus?.(this.#status);
  }
}

function down(reason = "not connected"): PipitError {
  return new PipitError("transient", "link_down", reason);
}
