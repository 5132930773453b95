// A clock that moves only when told: `advance` runs due timers in their order, `setWall` makes the wall clock jump.
import type { Clock } from "../../src/core/ports.ts";

export class FakeClock implements Clock {
  #nowMs = 1_000;
  #wallMs: number;
  #timers: { atMs: number; run: () => void }[] = [];

  constructor(wallMs = 1_800_000_000_000) {
    this.#wallMs = wallMs;
  }

  get pending(): number {
    return this.#timers.length;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  setWall(wallMs: number): void {
    this.#wallMs = wallMs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== due);
      this.#elapse(due.atMs - this.#nowMs);
      due.run();
    }
    this.#elapse(endMs - this.#nowMs);
  }

  #elapse(ms: number): void {
    this.#nowMs += ms;
    this.#wallMs += ms;
  }
}
