import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { LadderDecision, Rung } from "../../../src/core/ladder.ts";
import type { ModelShape } from "../../../src/core/memory-plan.ts";
import type { Logger } from "../../../src/core/ports.ts";
import { ModelLadder } from "../../../src/work/model-ladder.ts";
import { readingsOf } from "../../fakes/board.ts";
import { FakeClock } from "../../fakes/clock.ts";

const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const MIB = 1024 * 1024;
const MODEL: ModelShape = {
  architecture: "llama",
  fileBytes: 94 * MIB,
  contextTokens: 8192,
  embeddingSize: 576,
  kvHeadsByLayer: Array.from({ length: 30 }, () => 3),
  keyLength: 64,
  valueLength: 64,
  vocabularyTokens: 49_152,
  bytesByType: {},
};
const RUNGS: Rung[] = [
  {
    name: "small",
    memory: {
      model: MODEL,
      kind: "decoder",
      repackedTypes: [],
      wanted: { contextTokens: 2048, batchTokens: 64, sequences: 1 },
    },
  },
  { name: "unloaded" },
];

let clock: FakeClock;
let availableMib: number;
let idle: boolean;
let changes: LadderDecision[];
let states: string[];
let failures: number;
let rssMib: number | undefined;
let ladder: ModelLadder;

beforeEach(() => {
  clock = new FakeClock();
  availableMib = 1000;
  idle = true;
  changes = [];
  states = [];
  failures = 0;
  rssMib = undefined;
  ladder = new ModelLadder({
    rungs: RUNGS,
    readings: () =>
      readingsOf({ atMs: clock.nowMs(), memoryTotalBytes: 512 * MIB, memoryAvailableBytes: availableMib * MIB }),
    isIdle: () => idle,
    change: (decision) => {
      if (failures-- > 0) return Promise.reject(new Error("no file"));
      changes.push(decision);
      return Promise.resolve(decision.plan && rssMib !== undefined ? rssMib * MIB : undefined);
    },
    unloadAfterMs: 600_000,
    onChange: (_, state) => void states.push(state),
    clock,
    log,
  });
});
afterEach(() => ladder.stop());

const settle = async () => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};
const pass = async (ms: number) => {
  for (let passed = 0; passed < ms; passed += 2000) {
    clock.advance(2000);
    await settle();
  }
};

describe("the ladder", () => {
  it("loads the best rung at start, and says so before and after", async () => {
    ladder.start();
    await settle();
    expect(changes.map(({ name, action }) => `${action} ${name}`)).toEqual(["load small"]);
    expect(states).toEqual(["loading", "done"]);
    expect(ladder.decision?.plan?.contextTokens).toBe(2048);
  });

  it("unloads before the kernel acts, but never under a running question", async () => {
    ladder.start();
    await settle();
    availableMib = 5;
    idle = false;
    await pass(20_000);
    expect(changes).toHaveLength(1);
    idle = true;
    await pass(2000);
    expect(changes[1]).toMatchObject({ action: "unload", reason: "unloaded: only 5 MiB of memory are left" });
  });

  it("tries a change that failed again after half a minute", async () => {
    failures = 1;
    ladder.start();
    await pass(28_000);
    expect(changes).toHaveLength(0);
    await pass(4000);
    expect(changes).toHaveLength(1);
    expect(states).toEqual(["loading", "failed", "loading", "done"]);
  });

  it("learns from what a load really took, so that the next plan is smaller", async () => {
    availableMib = 330;
    rssMib = 350;
    ladder.start();
    await settle();
    expect(ladder.decision?.plan?.contextTokens).toBe(2048);
    await pass(600_000);
    await ladder.wake();
    expect(ladder.decision?.plan?.contextTokens).toBe(1024);
  });
});

describe("an idle model", () => {
  it("is put to sleep after its time and woken by a question, which waits for it", async () => {
    ladder.start();
    await settle();
    await pass(600_000);
    expect(ladder.asleep).toBe(true);
    expect(changes[1]).toMatchObject({
      action: "unload",
      reason: "small: unloaded after 10 minutes without a question",
    });
    await pass(600_000);
    expect(changes).toHaveLength(2);
    await ladder.wake();
    expect(ladder.asleep).toBe(false);
    expect(changes[2]).toMatchObject({ action: "load", name: "small" });
  });

  it("that is asked for while it is being put to sleep is loaded again all the same", async () => {
    ladder.start();
    await settle();
    clock.advance(600_000);
    expect(ladder.asleep).toBe(true);
    await ladder.wake();
    expect(changes.map(({ action }) => action)).toEqual(["load", "unload", "load"]);
  });

  it("gives way to the next rung when the kernel has killed it", async () => {
    ladder.start();
    await settle();
    ladder.noteKill();
    await pass(2000);
    expect(changes[1]).toMatchObject({ action: "unload", name: "unloaded" });
    expect(ladder.decision?.rung).toBe(1);
  });

  it("stays awake while questions come", async () => {
    ladder.start();
    for (let i = 0; i < 10; i++) {
      await pass(300_000);
      await ladder.wake();
    }
    expect(changes).toHaveLength(1);
  });
});

it("leaves no timer behind", async () => {
  ladder.start();
  await ladder.stop();
  expect(clock.pending).toBe(0);
});
