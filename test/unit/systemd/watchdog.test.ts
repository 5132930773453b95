import { beforeEach, describe, expect, it } from "vitest";
import type { Health } from "../../../src/core/health.ts";
import type { Clock, Logger } from "../../../src/core/ports.ts";
import { Watchdog } from "../../../src/systemd/watchdog.ts";

/** Runs what is due in order; `blockMs` moves time without running anything, as a blocked event loop does. */
class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; run: () => void }[] = [];
  nowMs(): number {
    return this.#nowMs;
  }
  wallMs(): number {
    return this.#nowMs;
  }
  get waiting(): number {
    return this.#timers.length;
  }
  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
  block(ms: number): void {
    this.#nowMs += ms;
  }
  pass(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
  }
}

let clock: ManualClock;
let beats: number[];
let statuses: string[];
let logs: string[];
let engine: Health;
let journal: Health;
let watchdog: Watchdog;

beforeEach(() => {
  clock = new ManualClock();
  beats = [];
  statuses = [];
  logs = [];
  engine = { steps: 0 };
  journal = { steps: 0 };
  watchdog = make(60_000);
});

function make(watchdogMs: number | undefined): Watchdog {
  const write = (_fields: object, message: string): void => void logs.push(message);
  const logger: Logger = { debug: write, info: write, warn: write, error: write, child: () => logger };
  return new Watchdog({
    rooms: [
      { room: "engine", health: () => engine },
      { room: "journal", health: () => journal },
    ],
    notifier: { watchdogMs, beat: () => void beats.push(clock.nowMs()), status: (text) => void statuses.push(text) },
    clock,
    logger,
  });
}

describe("the watchdog", () => {
  it("beats at once and eight times a period while every room is at rest", () => {
    watchdog.start();
    clock.pass(60_000);
    expect(beats).toEqual([0, 7500, 15_000, 22_500, 30_000, 37_500, 45_000, 52_500, 60_000]);
  });

  it("beats on while a slow room makes its steps in time", () => {
    watchdog.start();
    for (let step = 0; step < 20; step++) {
      engine = { steps: step, doing: { what: "decode", stepMs: 10_000 } };
      clock.pass(7500);
    }
    expect(beats).toHaveLength(21);
  });

  it("falls silent when one room owes a step for longer than the step may take, and says which in log and status", () => {
    watchdog.start();
    engine = { steps: 7, doing: { what: "decode", stepMs: 10_000 } };
    clock.pass(120_000);
    expect(beats).toEqual([0, 7500, 15_000]);
    const reason = 'engine: no step of "decode" for 15.0 s, 10.0 s allowed';
    expect(logs).toEqual([`watchdog not fed: ${reason}`]);
    expect(statuses).toEqual([`Not making progress: ${reason}`]);
    expect(watchdog.withheld).toContain("engine: no step");
  });

  it("names every room that stands still", () => {
    watchdog.start();
    engine = { steps: 7, doing: { what: "decode", stepMs: 1000 } };
    journal = { steps: 3, doing: { what: "fsync", stepMs: 1000 } };
    clock.pass(15_000);
    expect(watchdog.withheld).toMatch(/engine: .*; journal: no step of "fsync"/);
  });

  it("lets a model load take its own, longer time", () => {
    watchdog.start();
    engine = { steps: 0, doing: { what: "load", stepMs: 300_000 } };
    clock.pass(300_000);
    expect(watchdog.withheld).toBeUndefined();
    clock.pass(15_000);
    expect(watchdog.withheld).toContain('"load"');
  });

  it("starts the time anew when a room takes up other work without a step", () => {
    watchdog.start();
    engine = { steps: 0, doing: { what: "load", stepMs: 60_000 } };
    clock.pass(60_000);
    engine = { steps: 0, doing: { what: "prefill", stepMs: 10_000 } };
    clock.pass(15_000);
    expect(watchdog.withheld).toBeUndefined();
  });

  it("beats again when the room moves, and says so", () => {
    watchdog.start();
    engine = { steps: 7, doing: { what: "decode", stepMs: 10_000 } };
    clock.pass(30_000);
    engine = { steps: 8, doing: { what: "decode", stepMs: 10_000 } };
    clock.pass(7500);
    expect(beats.at(-1)).toBe(37_500);
    expect(logs.at(-1)).toBe("watchdog fed again");
    expect(watchdog.withheld).toBeUndefined();
  });

  it("gives no beat on a tick that came more than 2 s late, because the event loop was blocked", () => {
    watchdog.start();
    clock.block(9600);
    clock.pass(0);
    expect(beats).toEqual([0]);
    expect(watchdog.withheld).toBe("event loop blocked for 2.1 s");
    clock.pass(7500);
    expect(beats).toEqual([0, 17_100]);
  });

  it("does nothing when no watchdog is asked for", () => {
    watchdog = make(undefined);
    watchdog.start();
    expect(clock.waiting).toBe(0);
    expect(beats).toEqual([]);
  });

  it("leaves no timer behind after stop, and runs one loop however often it is started", () => {
    watchdog.start();
    watchdog.start();
    expect(clock.waiting).toBe(1);
    watchdog.stop();
    watchdog.stop();
    expect(clock.waiting).toBe(0);
  });
});
