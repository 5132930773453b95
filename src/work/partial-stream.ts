// Streamed pieces, coalesced by time: the reader sees the answer grow, the broker is not flooded with a packet a token.
import type { OutgoingMessage } from "../core/message.ts";
import type { Clock } from "../core/ports.ts";
import { partialMessage } from "../core/reply.ts";
import type { ReturnAddress } from "../core/return-address.ts";

export class PartialStream {
  readonly #address: ReturnAddress;
  readonly #publish: (message: OutgoingMessage) => void;
  readonly #clock: Clock;
  readonly #intervalMs: number;
  #seq = 0;
  #text = "";
  #lastMs = -Infinity;
  #cancelTimer: (() => void) | undefined;

  constructor(address: ReturnAddress, intervalMs: number, clock: Clock, publish: (message: OutgoingMessage) => void) {
    this.#address = address;
    this.#intervalMs = intervalMs;
    this.#clock = clock;
    this.#publish = publish;
  }

  push(text: string): void {
    this.#text += text;
    if (this.#cancelTimer) return;
    const waitMs = this.#lastMs + this.#intervalMs - this.#clock.nowMs();
    if (waitMs <= 0) this.#flush(false);
    else this.#cancelTimer = this.#clock.after(waitMs, () => this.#flush(false));
  }

  /** The last piece: what is left, with `final`. Published also when the answer failed, so that readers stop waiting. */
  end(): void {
    this.#flush(true);
  }

  /** Says nothing more. */
  drop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #flush(final: boolean): void {
    this.drop();
    if (this.#text.length === 0 && !final) return;
    this.#publish(partialMessage(this.#address, this.#seq, this.#text, final));
    this.#seq += 1;
    this.#text = "";
    this.#lastMs = this.#clock.nowMs();
  }
}
