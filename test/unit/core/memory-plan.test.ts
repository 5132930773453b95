import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cacheBytesPerToken,
  learnMemory,
  memoryBudget,
  type MemoryInput,
  type ModelShape,
  planMemory,
  predictMemory,
} from "../../../src/core/memory-plan.ts";

const MIB = 1024 * 1024;

const SMOLLM2: ModelShape = {
  architecture: "llama",
  fileBytes: 98_362_432,
  contextTokens: 8192,
  embeddingSize: 576,
  kvHeadsByLayer: Array.from({ length: 30 }, () => 3),
  keyLength: 64,
  valueLength: 64,
  vocabularyTokens: 49_152,
  bytesByType: { Q4_1: 65_000_000, Q6_K: 23_000_000, F32: 140_000 },
};

const GEMMA3: ModelShape = {
  architecture: "gemma3",
  fileBytes: 253_113_024,
  contextTokens: 32_768,
  embeddingSize: 640,
  kvHeadsByLayer: Array.from({ length: 18 }, () => 1),
  keyLength: 256,
  valueLength: 256,
  vocabularyTokens: 262_144,
  bytesByType: {},
};

const input = (part: Partial<MemoryInput> = {}): MemoryInput => ({
  model: SMOLLM2,
  kind: "decoder",
  repackedTypes: [],
  budgetBytes: 600 * MIB,
  wanted: { contextTokens: 2048, batchTokens: 64, sequences: 4 },
  ...part,
});

describe("the prediction", () => {
  it("counts the key-value cache by layers, heads and head size", () => {
    expect(cacheBytesPerToken(SMOLLM2)).toBe(22.5 * 1024);
  });

  it("grows with context, sequences and batch, and by the repacked types", () => {
    const base = predictMemory(input(), { contextTokens: 1024, batchTokens: 64, sequences: 1 });
    const larger = predictMemory(input(), { contextTokens: 2048, batchTokens: 64, sequences: 2 });
    expect(larger.cacheBytes - base.cacheBytes).toBe(3 * 1024 * 22.5 * 1024);
    expect(
      predictMemory(input(), { contextTokens: 1024, batchTokens: 512, sequences: 1 }).computeBytes,
    ).toBeGreaterThan(base.computeBytes);
    expect(
      predictMemory(input({ repackedTypes: ["Q4_1"] }), { contextTokens: 1024, batchTokens: 64, sequences: 1 })
        .repackedBytes,
    ).toBe(65_000_000);
  });

  it("gives an encoder no key-value cache", () => {
    expect(
      predictMemory(input({ kind: "encoder" }), { contextTokens: 512, batchTokens: 512, sequences: 1 }).cacheBytes,
    ).toBe(0);
  });

  // [context, batch, sequences, measured MiB]: RSS of the child after an answer over 0.7 of the context.
  it.each([
    [
      "SmolLM2 135M",
      SMOLLM2,
      [
        [256, 16, 1, 227],
        [256, 64, 1, 228],
        [1024, 64, 1, 245],
        [2048, 64, 1, 263],
        [2048, 64, 4, 428],
        [4096, 64, 1, 316],
        [1024, 256, 1, 247],
        [1024, 512, 2, 278],
      ],
    ],
    [
      "Gemma 3 270M",
      GEMMA3,
      [
        [256, 16, 1, 489],
        [256, 64, 1, 461],
        [1024, 64, 1, 503],
        [2048, 64, 1, 541],
        [2048, 64, 4, 727],
        [4096, 64, 1, 539],
        [1024, 256, 1, 482],
        [1024, 512, 2, 520],
      ],
    ],
  ])("is within a tenth or 24 MiB of what %s was measured to take", (_, model, rows) => {
    for (const [contextTokens = 0, batchTokens = 0, sequences = 0, measured = 0] of rows) {
      const mib = predictMemory(input({ model }), { contextTokens, batchTokens, sequences }).rssBytes / MIB;
      expect(Math.abs(mib - measured)).toBeLessThan(Math.max(24, measured * 0.1));
    }
  });

  it("counts Node and the library once for two models in one process", () => {
    const shape = { contextTokens: 1024, batchTokens: 64, sequences: 1 };
    const alone = predictMemory(input(), shape);
    const beside = predictMemory(input({ othersBytes: 50 * MIB }), shape);
    expect(beside.rssBytes - alone.rssBytes).toBeCloseTo(50 * MIB);
    expect(alone.ownBytes).toBeCloseTo(alone.rssBytes - alone.runtimeBytes);
  });

  it("approaches what was measured, load by load", () => {
    const shape = { contextTokens: 1024, batchTokens: 64, sequences: 1 };
    let correctionBytes = 0;
    const { rssBytes, computeBytes } = predictMemory(input(), shape);
    const measured = rssBytes - computeBytes + 40 * MIB;
    for (let load = 0; load < 6; load++) {
      correctionBytes = learnMemory(predictMemory(input({ correctionBytes }), shape), measured);
    }
    const learnt = predictMemory(input({ correctionBytes }), shape).rssBytes;
    expect(Math.abs(learnt - (rssBytes + 40 * MIB))).toBeLessThan(MIB);
  });
});

describe("the plan", () => {
  it("is what was wanted where there is room", () => {
    const plan = planMemory(input());
    expect(plan).toMatchObject({ contextTokens: 2048, batchTokens: 64, sequences: 4, fits: true });
    expect(plan.reason).toContain("as configured");
  });

  it("never asks for more context than the model was trained for", () => {
    expect(
      planMemory(input({ wanted: { contextTokens: 32_768, batchTokens: 64, sequences: 1 }, budgetBytes: 8e9 }))
        .contextTokens,
    ).toBe(8192);
  });

  it("gives up sequences before context, and context before batch", () => {
    const seen: string[] = [];
    for (let budget = 500; budget > 150; budget -= 0.25) {
      const { contextTokens, batchTokens, sequences, fits } = planMemory(input({ budgetBytes: budget * MIB }));
      const key = `${sequences}/${contextTokens}/${batchTokens}/${fits}`;
      if (seen[seen.length - 1] !== key) seen.push(key);
    }
    expect(seen.slice(0, 8)).toEqual([
      "4/2048/64/true",
      "3/2048/64/true",
      "2/2048/64/true",
      "1/2048/64/true",
      "1/1024/64/true",
      "1/512/64/true",
      "1/256/64/true",
      "1/256/32/true",
    ]);
    expect(seen[seen.length - 1]).toBe("1/256/16/false");
  });

  it("says how much is missing where nothing fits", () => {
    const plan = planMemory(input({ budgetBytes: 50 * MIB }));
    expect(plan.fits).toBe(false);
    expect(plan.reason).toMatch(/even 256 tokens of context need \d+ MiB, 50 MiB are there/);
  });

  it("never claims to fit beyond the budget, and never plans more than was wanted", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 2000 }),
        fc.integer({ min: 64, max: 40_000 }),
        fc.integer({ min: 1, max: 512 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: -50, max: 200 }),
        (budget, contextTokens, batchTokens, sequences, correction) => {
          const wanted = { contextTokens, batchTokens, sequences };
          const asked = input({ budgetBytes: budget * MIB, wanted, correctionBytes: correction * MIB });
          const plan = planMemory(asked);
          expect(plan.fits).toBe(predictMemory(asked, plan).rssBytes <= budget * MIB);
          expect(plan.contextTokens).toBeLessThanOrEqual(contextTokens);
          expect(plan.batchTokens).toBeLessThanOrEqual(batchTokens);
          expect(plan.sequences).toBeLessThanOrEqual(sequences);
          expect(Math.min(plan.contextTokens, plan.batchTokens, plan.sequences)).toBeGreaterThanOrEqual(1);
        },
      ),
    );
  });
});

describe("the budget", () => {
  const board = { memoryTotalBytes: 4096 * MIB, memoryAvailableBytes: 3000 * MIB };
  const child = { rssBytes: 250 * MIB, anonymousBytes: 100 * MIB, fileBytes: 150 * MIB, majorFaultsPerSecond: 0 };

  it("is what the board has left and what we would free, less a reserve", () => {
    expect(memoryBudget(board) / MIB).toBeCloseTo(3000 - 4096 * 0.05);
    expect(memoryBudget({ ...board, child }) / MIB).toBeCloseTo(3100 - 4096 * 0.05);
  });

  it("is bound by the group where that has less room", () => {
    const groupMemory = { limitBytes: 512 * MIB, headroomBytes: 100 * MIB };
    expect(memoryBudget({ ...board, groupMemory, child }) / MIB).toBe(350 - 32);
  });

  it("does not count pages of a warm cache twice: a group never has more than its limit less the daemon", () => {
    const groupMemory = { limitBytes: 256 * MIB, headroomBytes: 100 * MIB };
    expect(memoryBudget({ ...board, groupMemory, child }) / MIB).toBe(256 - 36 - 32);
    expect(memoryBudget({ ...board, groupMemory, child: { ...child, rssBytes: 80 * MIB } }) / MIB).toBe(180 - 32);
  });

  it("is never negative", () => {
    expect(memoryBudget({ ...board, memoryAvailableBytes: 0 })).toBe(0);
  });
});
