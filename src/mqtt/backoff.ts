// How long to wait before the next connection attempt: full jitter, so that a fleet does not come back in step after its
// broker restarted. The ceiling doubles from `minMs` to `maxMs` and falls back only after a connection has held for
// `resetAfterMs`: a broker that drops us as soon as it has accepted us is not hammered.

export interface BackoffOptions {
  minMs: number;
  maxMs: number;
  resetAfterMs: number;
  /** Uniform in [0, 1). */
  random: () => number;
}

export const DEFAULT_BACKOFF: BackoffOptions = {
  minMs: 1_000,
  maxMs: 60_000,
  resetAfterMs: 60_000,
  random: Math.random,
};

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Milliseconds to wait now. */
  next(): number {
    const { minMs, maxMs, random } = this.#options;
    const ceilingMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return random() * ceilingMs;
  }

  /** A connection has ended that had held for `upMs`. */
  ended(upMs: number): void {
    if (upMs >= this.#options.resetAfterMs) this.#failures = 0;
  }
}
