// How long to wait before the next connection attempt: full jitter, so that a fleet does not come back in step after its
// broker restarted. The ceiling doubles from `minMs` to `maxMs` with every attempt that fails. A connection that was ready
// brings it back down, unless connections have been falling more often than the quick returns allow: a broker that drops us
// as soon as it has accepted us is not hammered, one that is restarted a few times is not waited for.

export interface BackoffOptions {
  minMs: number;
  /** After a long outage the wait that is left when the broker comes back is 0.29 of this in the median. */
  maxMs: number;
  /** A connection that has held this long always counts as good. */
  resetAfterMs: number;
  /** Shorter ones count as good so often in a row, and once more after each `quickReturnMs`. */
  quickReturns: number;
  quickReturnMs: number;
  /** Uniform in [0, 1). */
  random: () => number;
}

export const DEFAULT_BACKOFF: BackoffOptions = {
  minMs: 1_000,
  maxMs: 15_000,
  resetAfterMs: 60_000,
  quickReturns: 10,
  quickReturnMs: 3_000,
  random: Math.random,
};

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;
  #quickReturns: number;
  #countedMs: number | undefined;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#quickReturns = options.quickReturns;
  }

  /** Milliseconds to wait now. */
  next(): number {
    const { minMs, maxMs, random } = this.#options;
    const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return random() * ceilingMs;
  }

  /** A connection that was ready for `upMs` has ended now, by a monotonic clock. */
  ended(upMs: number, nowMs: number): void {
    const { resetAfterMs, quickReturns, quickReturnMs } = this.#options;
    const earned = (nowMs - (this.#countedMs ?? nowMs)) / quickReturnMs;
    this.#countedMs = nowMs;
    this.#quickReturns = Math.min(quickReturns, this.#quickReturns + earned);
    if (upMs < resetAfterMs) {
      if (this.#quickReturns < 1) return;
      this.#quickReturns -= 1;
    }
    this.#failures = 0;
  }
}
