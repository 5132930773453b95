import { beforeEach, describe, expect, it } from "vitest";
import type { Manners, ThreadPlan } from "../../../src/core/plan.ts";
import type { Logger } from "../../../src/core/ports.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { Governor, type GovernorOptions } from "../../../src/work/governor.ts";
import { readingsOf } from "../../fakes/board.ts";
import { FakeClock } from "../../fakes/clock.ts";

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };

let clock: FakeClock;
let board: Partial<Readings>;
let reads: number;
let watched: (number | undefined)[];
let told: ThreadPlan[];
let manners: (Partial<Manners> | undefined)[];
let events: string[];
let governor: Governor;

beforeEach(() => {
  clock = new FakeClock();
  board = { affinityCores: 2 };
  reads = 0;
  watched = [];
  told = [];
  manners = [];
  events = [];
  governor = governorOf();
});

const governorOf = (more: Partial<GovernorOptions> = {}) =>
  new Governor({
    clock,
    log,
    sensors: {
      read: () => readingsOf({ windowMs: reads++ === 0 ? 0 : 250, ...board, atMs: clock.nowMs() }),
      watchChild: (pid) => void watched.push(pid),
    },
    engine: {
      status: { state: "ready", deaths: 0, pid: 4711 },
      setThreads: (threads, how) => (told.push(threads), void manners.push(how)),
    },
    plan: { contextTokens: 1024, batchTokens: 64, sequences: 1, modelRung: 0, modelReason: "" },
    events: { onPlan: (plan) => void events.push(plan.reason) },
    ...more,
  });

describe("the governor", () => {
  it("starts on one thread and takes the calm board's cores with its first window", async () => {
    await governor.start();
    expect(governor.current.threads).toEqual({ prefill: 1, decode: 1 });
    clock.advance(250);
    expect(governor.current.threads).toEqual({ prefill: 2, decode: 2 });
    expect(told).toEqual([
      { prefill: 1, decode: 1 },
      { prefill: 2, decode: 2 },
    ]);
    expect(events).toEqual(["2 threads: calm, 2 cores free"]);
    expect(watched).toContain(4711);
  });

  it("reads the board four times a second while a question runs and every two seconds otherwise", async () => {
    await governor.start();
    clock.advance(250);
    reads = 1;
    clock.advance(10_000);
    expect(reads).toBe(6);
    const question = governor.forQuestion("normal");
    reads = 1;
    clock.advance(10_000);
    expect(reads).toBe(41);
    question.end();
    clock.advance(250);
    reads = 1;
    clock.advance(10_000);
    expect(reads).toBe(6);
  });

  it("looks at the board before a question starts, so that its plan is not two seconds old", async () => {
    await governor.start();
    clock.advance(1000);
    board = { affinityCores: 2, foreignCores: 1 };
    const question = governor.forQuestion("normal");
    expect(question.plan.threads.decode).toBe(1);
    expect(question.plan.reason).toContain("neighbours use 1.0 of 2 cores");
    question.end();
  });

  it("tells the engine only what has changed", async () => {
    await governor.start();
    governor.forQuestion("normal");
    clock.advance(20_000);
    expect(told).toHaveLength(3); // two threads, and after a second that they yield
  });

  it("looks at once when a batch was slow", async () => {
    await governor.start();
    clock.advance(250);
    governor.forQuestion("normal");
    clock.advance(150);
    board = { affinityCores: 2, foreignCores: 0.8 };
    governor.onStep({ phase: "decode", tokens: 1, threads: 2, ms: 400 });
    expect(told[told.length - 1]).toEqual({ prefill: 1, decode: 1 });
  });

  it("corrects by measured steps where no reading shows a cause", async () => {
    await governor.start();
    governor.setCurve({ prefill: { 1: 100, 2: 200 }, decode: { 1: 50, 2: 90 } });
    clock.advance(250);
    governor.forQuestion("normal");
    for (let i = 0; i < 3; i++) governor.onStep({ phase: "decode", tokens: 1, threads: 2, ms: 90 });
    clock.advance(250);
    expect(governor.current.reason).toBe("1 thread: a token took 90 ms instead of 11 on 2 threads");
  });

  it("lets the most courteous of the running questions set the manners", async () => {
    board = { affinityCores: 2, foreignCores: 0.2 };
    await governor.start();
    clock.advance(250);
    expect(governor.current.threads.decode).toBe(2);
    const polite = governor.forQuestion("high");
    const plain = governor.forQuestion("normal");
    clock.advance(500);
    expect(governor.current.threads.decode).toBe(1);
    polite.end();
    clock.advance(250);
    expect(governor.current.threads.decode).toBe(2);
    plain.end();
  });

  it("has batches rest while a question of high courtesy runs beside neighbours that want every core", async () => {
    board = { affinityCores: 2, foreignCores: 2 };
    await governor.start();
    clock.advance(250);
    const polite = governor.forQuestion("high");
    clock.advance(250);
    expect(manners.at(-1)).toEqual({ restRatio: 1, yielding: false });
    polite.end();
    governor.forQuestion("normal");
    clock.advance(250);
    expect(manners.at(-1)).toEqual({ restRatio: 0, yielding: false });
  });

  it("has the threads yield while they have cores to themselves, and says so to the engine once", async () => {
    board = { affinityCores: 2, foreignCores: 1 };
    await governor.start();
    clock.advance(4000);
    expect(manners).toEqual([undefined, { restRatio: 0, yielding: true }]);
    board = { affinityCores: 2, foreignCores: 2 };
    clock.advance(4000);
    expect(manners.slice(2)).toEqual([{ restRatio: 0, yielding: false }]);
  });

  it("obeys a thread count of the configuration whatever the board says", async () => {
    governor = governorOf({ fixedThreads: 3 });
    board = { affinityCores: 2, foreignCores: 2 };
    await governor.start();
    clock.advance(250);
    expect(governor.current.threads).toEqual({ prefill: 3, decode: 3 });
    expect(governor.current.reason).toBe("3 threads: fixed by the configuration");
  });

  it("hands the engine over to the calibrator and takes it back as it left it", async () => {
    await governor.start();
    clock.advance(250);
    const release = governor.handOver();
    board = { affinityCores: 2, foreignCores: 1 };
    clock.advance(4000);
    expect(told).toHaveLength(2);
    release();
    expect(told[2]).toEqual({ prefill: 1, decode: 1 });
  });

  it("leaves no timer behind when stopped, twice or before it was started", async () => {
    await governor.stop();
    await governor.start();
    await governor.stop();
    await governor.stop();
    expect(clock.pending).toBe(0);
    governor.forQuestion("normal").end();
    expect(clock.pending).toBe(0);
  });
});
