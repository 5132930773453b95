import { describe, expect, it } from "vitest";
import { BOARDS } from "../../../src/core/boards.ts";
import type { ModelShape } from "../../../src/core/memory-plan.ts";
import { parametersOf, whatIf } from "../../../src/core/what-if.ts";

const SMOLLM2: ModelShape = {
  architecture: "llama",
  fileBytes: 105_000_000,
  contextTokens: 8192,
  embeddingSize: 576,
  kvHeadsByLayer: Array.from({ length: 30 }, () => 3),
  keyLength: 64,
  valueLength: 64,
  vocabularyTokens: 49_152,
  bytesByType: { Q5_0: 60_000_000, Q8_0: 40_000_000 },
};
const QWEN_Q4_0: ModelShape = {
  ...SMOLLM2,
  fileBytes: 403 * 1024 * 1024,
  kvHeadsByLayer: Array.from({ length: 24 }, () => 2),
  vocabularyTokens: 151_936,
  bytesByType: { Q4_0: 200_000_000, Q8_0: 150_000_000 },
};
const wanted = { contextTokens: 2048, batchTokens: 64, sequences: 1 };
const board = (id: string) => {
  const found = BOARDS.find((one) => one.id === id);
  if (!found) throw new Error(id);
  return found;
};

describe("an estimate", () => {
  it.each([
    // Published: SmolLM2-135M Q4_K_M on a Zero 2 W writes 9 to 11 tok/s and reads 10 to 18 (ravijo/pi-llm).
    ["pi-zero-2w", SMOLLM2, [7, 12], [9, 19]],
    // Published: Qwen2.5 0.5B Q4_0 on a Pi 5 writes 29 to 34 tok/s.
    ["pi-5", QWEN_Q4_0, [20, 36], [100, 300]],
  ] as const)("for %s comes near the published speed", (id, model, [least, most], [leastRead, mostRead]) => {
    const { decodeTokensPerSecond = 0, prefillTokensPerSecond } = whatIf({
      board: board(id),
      model,
      kind: "decoder",
      wanted,
    });
    expect(decodeTokensPerSecond).toBeGreaterThan(least);
    expect(decodeTokensPerSecond).toBeLessThan(most);
    expect(prefillTokensPerSecond).toBeGreaterThan(leastRead);
    expect(prefillTokensPerSecond).toBeLessThan(mostRead);
  });

  it("shrinks the context to what the board holds, and says when nothing fits", () => {
    expect(
      whatIf({
        board: board("pi-zero-2w"),
        model: SMOLLM2,
        kind: "decoder",
        wanted: { ...wanted, contextTokens: 8192 },
      }).plan,
    ).toMatchObject({
      fits: true,
      contextTokens: 1024,
    });
    expect(whatIf({ board: board("pi-zero-2w"), model: QWEN_Q4_0, kind: "decoder", wanted }).plan.fits).toBe(false);
  });

  it("says what it is made of, and which figures were carried over from a relative", () => {
    const { notes } = whatIf({ board: board("pi-3"), model: SMOLLM2, kind: "decoder", wanted });
    expect(notes.filter((note) => note.includes("by a relative"))).toHaveLength(2);
  });

  it("shows this machine's calibration beside it", () => {
    const here = { prefill: { 1: 130, 2: 250 }, decode: { 1: 57, 2: 90 } };
    expect(whatIf({ board: board("pi-5"), model: SMOLLM2, kind: "decoder", wanted, here }).here).toEqual({
      prefillTokensPerSecond: 250,
      decodeTokensPerSecond: 90,
    });
  });

  it("plans beside the encoder where both fit, and says who classifies where they do not", () => {
    const model = { ...SMOLLM2, fileBytes: 25_000_000, kvHeadsByLayer: [], vocabularyTokens: 30_522 };
    const encoder = { name: "minilm", model, wanted: { contextTokens: 512, batchTokens: 512, sequences: 1 } };
    const on = (id: string) => whatIf({ board: board(id), model: SMOLLM2, kind: "decoder", wanted, encoder });
    expect(on("pi-4").encoderClassifyMs).toBeLessThan(on("pi-4").classifyMs + 1);
    expect(on("pi-zero-2w")).not.toHaveProperty("encoderClassifyMs");
    expect(on("pi-zero-2w").plan.fits).toBe(true);
    expect(on("pi-zero-2w").notes).toContain("fit: minilm does not fit beside it; this model classifies");
  });

  it("corrects the fit by what this machine has learnt", () => {
    const at = (correctionBytes: number) =>
      whatIf({ board: board("pi-4"), model: SMOLLM2, kind: "decoder", wanted, correctionBytes });
    expect(at(30e6).plan.predictedRssBytes - at(0).plan.predictedRssBytes).toBeCloseTo(30e6);
    expect(at(30 * 2 ** 20).notes).toContain("fit: corrected by what the model took on this machine, 30 MiB");
  });

  it("gives an encoder a latency and no writing speed", () => {
    const estimate = whatIf({ board: board("pi-4"), model: SMOLLM2, kind: "encoder", wanted, messageTokens: 10 });
    expect(estimate).not.toHaveProperty("decodeTokensPerSecond");
    expect(estimate.classifyMs).toBeCloseTo(10_000 / estimate.prefillTokensPerSecond);
  });
});

it("counts parameters by the bytes of their type", () => {
  expect(parametersOf({ ...SMOLLM2, bytesByType: { F16: 200, Q8_0: 106.25 } })).toBeCloseTo(200);
});

it("every board has a source for each figure", () => {
  for (const { bandwidth, operations, usableBytes, memoryBytes } of BOARDS) {
    expect(bandwidth.source.length * operations.source.length).toBeGreaterThan(0);
    expect(usableBytes).toBeLessThan(memoryBytes);
  }
});
