// A flood of refusals shall not become a flood of lines on an SD card: one line in this time, with the number of refusals.
import type { Clock, Logger } from "../core/ports.ts";

const LINE_MS = 10_000;

export class RefusalLines {
  readonly #log: Logger;
  readonly #clock: Clock;
  /** Refusals that no line has told of, and when the next may. */
  #untold = 0;
  #tellAgainMs = -Infinity;

  constructor(log: Logger, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  tell(fields: object, sentence: string): void {
    const nowMs = this.#clock.nowMs();
    this.#untold += 1;
    if (nowMs < this.#tellAgainMs) return this.#log.debug(fields, sentence);
    this.#log.info({ ...fields, refused: this.#untold }, sentence);
    this.#untold = 0;
    this.#tellAgainMs = nowMs + LINE_MS;
  }
}
