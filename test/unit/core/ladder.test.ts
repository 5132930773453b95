import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CHANGE_DWELL_MS,
  decideRung,
  GROW_AFTER_MS,
  type LadderDecision,
  type LadderState,
  type Rung,
} from "../../../src/core/ladder.ts";
import { memoryBudget, type ModelShape } from "../../../src/core/memory-plan.ts";
import type { Readings } from "../../../src/core/readings.ts";
import { readingsOf } from "../../fakes/board.ts";

const MIB = 1024 * 1024;
const shape = (fileMib: number, layers: number): ModelShape => ({
  architecture: "llama",
  fileBytes: fileMib * MIB,
  contextTokens: 8192,
  embeddingSize: 576,
  kvHeadsByLayer: Array.from({ length: layers }, () => 3),
  keyLength: 64,
  valueLength: 64,
  vocabularyTokens: 49_152,
  bytesByType: {},
});
const wanted = { contextTokens: 2048, batchTokens: 64, sequences: 1 };
const RUNGS: Rung[] = [
  { name: "large", memory: { model: shape(250, 32), kind: "decoder", repackedTypes: [], wanted } },
  { name: "small", memory: { model: shape(94, 30), kind: "decoder", repackedTypes: [], wanted } },
  {
    name: "encoder",
    memory: { model: shape(25, 6), kind: "encoder", repackedTypes: [], wanted: { ...wanted, contextTokens: 512 } },
  },
  { name: "unloaded" },
];

class Life {
  state: LadderState | undefined;
  nowMs = 0;
  at(
    availableMib: number,
    part: Partial<Readings> = {},
    more: { idle?: boolean; killed?: boolean } = {},
  ): LadderDecision {
    const child =
      this.state?.plan === undefined
        ? {}
        : {
            child: {
              rssBytes: this.state.plan.predictedRssBytes,
              anonymousBytes: 100 * MIB,
              fileBytes: 0,
              majorFaultsPerSecond: 0,
            },
          };
    const readings = readingsOf({
      memoryTotalBytes: 512 * MIB,
      memoryAvailableBytes: availableMib * MIB,
      ...child,
      ...part,
      atMs: this.nowMs,
    });
    const decision = decideRung({
      rungs: RUNGS,
      readings,
      idle: true,
      ...more,
      ...(this.state && { state: this.state }),
    });
    this.state = decision.state;
    this.nowMs += 2000;
    return decision;
  }
  during(ms: number, availableMib: number, part: Partial<Readings> = {}): LadderDecision[] {
    const until = this.nowMs + ms;
    const changes: LadderDecision[] = [];
    while (this.nowMs < until) {
      const decision = this.at(availableMib, part);
      if (decision.action !== "keep") changes.push(decision);
    }
    return changes;
  }
}

describe("the first load", () => {
  it.each([
    [1000, "large", "load"],
    [350, "small", "load"],
    [220, "encoder", "load"],
    [60, "unloaded", "unload"],
  ])("with %d MiB takes the rung %s", (available, name, action) => {
    expect(new Life().at(available)).toMatchObject({ name, action });
  });
});

describe("pressure", () => {
  it("lowers the plan after five seconds, at idle only, with the figures as reason", () => {
    const life = new Life();
    life.at(480);
    life.during(70_000, 380);
    const before = life.state?.plan?.contextTokens ?? 0;
    for (let i = 0; i < 10; i++) expect(life.at(100, {}, { idle: false }).action).toBe("keep");
    const lowered = life.at(100);
    expect(lowered.action).toBe("load");
    expect(lowered.rung === 0 ? lowered.plan?.contextTokens : 0).toBeLessThan(before);
    expect(lowered.reason).toMatch(/needs \d+ MiB, \d+ MiB are left for it/);
  });

  it("does not wait when the kernel is about to act", () => {
    const life = new Life();
    life.at(900);
    const lowered = life.at(10);
    expect(lowered.action).not.toBe("keep");
    expect(lowered.reason).toContain("only 10 MiB of memory are left");
  });

  it("is seen in evicted weights even where the figures say that all is well", () => {
    const life = new Life();
    life.at(900);
    life.nowMs += CHANGE_DWELL_MS;
    const child = { rssBytes: 300 * MIB, anonymousBytes: 100 * MIB, fileBytes: 0, majorFaultsPerSecond: 2000 };
    const [lowered] = life.during(20_000, 900, { child });
    expect(lowered?.plan?.contextTokens).toBe(1024);
    expect(lowered?.reason).toContain("evicts the model's weights");
  });

  it("changes no more than once a minute while it is no emergency", () => {
    const life = new Life();
    life.at(480);
    const changes = life.during(300_000, 130);
    for (const [index, { state }] of changes.entries()) {
      const before = changes[index - 1]?.state.changedAtMs ?? 0;
      expect(state.changedAtMs - before).toBeGreaterThanOrEqual(CHANGE_DWELL_MS);
    }
  });
});

describe("room", () => {
  it("brings the larger model back after five minutes of it", () => {
    const life = new Life();
    life.at(300);
    expect(life.state?.rung).toBe(1);
    expect(life.during(GROW_AFTER_MS - 10_000, 3000)).toEqual([]);
    const [grown] = life.during(20_000, 3000);
    expect(grown).toMatchObject({
      name: "large",
      action: "load",
      reason: "large: memory has been ample for five minutes",
    });
  });

  it("that would only just do brings nothing back, or it would go again at once", () => {
    const life = new Life();
    life.at(300);
    expect(life.during(2 * GROW_AFTER_MS, 380)).toEqual([]);
  });
});

describe("a kill by the kernel", () => {
  it("lowers the rung and is remembered for half an hour whatever the memory", () => {
    const life = new Life();
    life.at(3000);
    expect(life.at(3000, {}, { killed: true })).toMatchObject({ rung: 1, action: "load" });
    expect(life.during(1_700_000, 3000)).toEqual([]);
    expect(life.during(700_000, 3000).map(({ name }) => name)).toEqual(["large"]);
  });

  it("is remembered over a sleep", () => {
    const life = new Life();
    life.at(3000);
    life.at(3000, {}, { killed: true });
    const readings = readingsOf({ memoryTotalBytes: 512 * MIB, memoryAvailableBytes: 3000 * MIB, atMs: life.nowMs });
    const state = life.state as LadderState;
    expect(decideRung({ rungs: RUNGS, readings, idle: true, fresh: true, state })).toMatchObject({
      rung: 1,
      action: "load",
    });
  });

  it("is also known from the group's counter", () => {
    const life = new Life();
    const group = (oomKills: number) => ({
      groupMemory: { limitBytes: 4096 * MIB, headroomBytes: 3000 * MIB, oomKills },
    });
    life.at(3000, group(0));
    life.at(3000, group(0));
    expect(life.at(3000, group(1)).rung).toBe(1);
  });
});

describe("whatever happens", () => {
  it("nothing is loaded that was not planned to fit", () => {
    const step = fc.record({
      available: fc.integer({ min: 0, max: 2000 }),
      idle: fc.boolean(),
      killed: fc.boolean(),
      skipMs: fc.integer({ min: 0, max: 400_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const life = new Life();
        for (const { available, skipMs, ...more } of steps) {
          life.nowMs += skipMs;
          const child = life.state?.plan && {
            rssBytes: life.state.plan.predictedRssBytes,
            anonymousBytes: 100 * MIB,
            fileBytes: 0,
            majorFaultsPerSecond: 0,
          };
          const readings = readingsOf({
            memoryTotalBytes: 512 * MIB,
            memoryAvailableBytes: available * MIB,
            ...(child && { child }),
          });
          const first = life.state === undefined;
          const budget = memoryBudget(readings);
          const { action, plan, state } = life.at(available, {}, more);
          if (action !== "load") continue;
          if (!first) expect(more.idle).toBe(true);
          expect(plan?.fits).toBe(true);
          // A step down under pressure may be to a plan that is still too large for the moment, but never to a larger one.
          expect(plan?.predictedRssBytes).toBeLessThanOrEqual(Math.max(budget, child?.rssBytes ?? 0));
          expect(state.rung).toBeLessThan(RUNGS.length);
        }
      }),
    );
  });
});
