// The retained `…/state`: what the agent measured, chose and is doing; published when something changed and at an
// interval, never more often than once a second.
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock } from "../core/ports.ts";

const LEAST_INTERVAL_MS = 1000;

export interface StatePublisherOptions {
  topic: string;
  intervalMs: number;
  /** The state as it goes on the wire: snake_case keys. */
  describe: () => object;
  publish: (message: OutgoingMessage) => Promise<void>;
}

export class StatePublisher {
  readonly #options: StatePublisherOptions;
  readonly #clock: Clock;
  #lastMs = -Infinity;
  #cancel: (() => void) | undefined;
  #running = false;

  constructor(options: StatePublisherOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  start(): void {
    this.#running = true;
    this.changed();
  }

  stop(): void {
    this.#running = false;
    this.#cancel?.();
  }

  /** Something worth telling: published now, or as soon as a second has passed since the last time. */
  changed(): void {
    if (!this.#running) return;
    const waitMs = Math.max(0, this.#lastMs + LEAST_INTERVAL_MS - this.#clock.nowMs());
    if (waitMs > 0) this.#schedule(waitMs);
    else this.#publish();
  }

  #publish(): void {
    this.#lastMs = this.#clock.nowMs();
    this.#schedule(this.#options.intervalMs);
    const { topic, describe, publish } = this.#options;
    const payload = new TextEncoder().encode(JSON.stringify(describe()));
    // Without a link there is nobody to tell; the next connection publishes anew.
    publish({ topic, payload, retain: true, contentType: "application/json", text: true }).catch(() => {});
  }

  #schedule(delayMs: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(delayMs, () => this.#publish());
  }
}
