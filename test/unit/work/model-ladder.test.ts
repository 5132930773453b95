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
let stops: number;
let onQuiet: () => void;
let learnt: [rung: string, mib: number][];
let oomKills: number;

beforeEach(() => {
  clock = new FakeClock();
  availableMib = 1000;
  idle = true;
  changes = [];
  states = [];
  failures = 0;
  rssMib = undefined;
  stops = 0;
  learnt = [];
  oomKills = 0;
  ladder = new ModelLadder({
    rungs: RUNGS,
    readings: () =>
      readingsOf({
        atMs: clock.nowMs(),
        memoryTotalBytes: 512 * MIB,
        memoryAvailableBytes: availableMib * MIB,
        oomKills,
      }),
    isIdle: () => idle,
    stopQuestions: () => {
      stops += 1;
      return {
        get isQuiet() {
          return idle;
        },
        quiet: new Promise((resolve) => (onQuiet = resolve)),
        release: () => (stops -= 1),
      };
    },
    onLearnt: (rung, bytes) => learnt.push([rung, Math.round(bytes / MIB)]),
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

  it("unloads before the kernel acts, between two questions: the next one is held back until it is done", async () => {
    ladder.start();
    await settle();
    availableMib = 5;
    idle = false;
    await pass(20_000);
    expect(changes).toHaveLength(1);
    expect(stops).toBe(1);
    idle = true;
    onQuiet();
    await settle();
    expect(changes[1]).toMatchObject({ action: "unload", reason: "unloaded: only 5 MiB of memory are left" });
    expect(stops).toBe(0);
  });

  it("lets the next question go when the pressure has gone before there was a gap", async () => {
    ladder.start();
    await settle();
    availableMib = 5;
    idle = false;
    await pass(4000);
    expect(stops).toBe(1);
    availableMib = 1000;
    await pass(2000);
    expect([stops, changes.length]).toEqual([0, 1]);
  });

  it("loads nothing anew when the process died of something else", async () => {
    ladder.start();
    await pass(2000);
    ladder.noteDeath(true);
    ladder.noteDeath(false);
    await pass(4000);
    expect(changes).toHaveLength(1);
    expect(ladder.barred).toBeUndefined();
  });

  it("makes room for another model when asked, and comes back when there is room for both", async () => {
    ladder.start();
    await settle();
    await ladder.makeRoom("the large one needs it");
    expect(changes[1]).toMatchObject({ action: "unload", reason: "small: the large one needs it" });
    await pass(130_000);
    expect(changes[2]).toMatchObject({ action: "load", name: "small" });
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
    expect(learnt[0]?.[1]).toBeGreaterThan(20);
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

  it("is smaller in the next process when the kernel has killed it, at once, and gone after a second kill", async () => {
    ladder.start();
    await settle();
    await pass(2000);
    oomKills = 1;
    ladder.noteDeath(true);
    await settle();
    expect(changes[1]?.plan?.contextTokens).toBe(256);
    oomKills = 2;
    ladder.noteDeath(true);
    await settle();
    expect(changes[2]).toMatchObject({ action: "unload", name: "unloaded" });
    expect(ladder.barred?.holdMs).toBe(3_600_000);
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
