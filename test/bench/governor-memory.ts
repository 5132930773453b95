// The memory plan against what loads really take: RSS of the child after an answer over most of the context, for twelve
// combinations of context, batch and sequences on two models.
import { existsSync } from "node:fs";
import { systemClock } from "../../src/core/clock.ts";
import { type MemoryShape, predictMemory } from "../../src/core/memory-plan.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { readGgufHeader } from "../../src/models/gguf-header.ts";
import type { Row } from "./bench.ts";
import { modelPath, quiet } from "./governor-rig.ts";

const MIB = 1024 * 1024;
const SHAPES: MemoryShape[] = [
  { contextTokens: 256, batchTokens: 16, sequences: 1 },
  { contextTokens: 512, batchTokens: 64, sequences: 1 },
  { contextTokens: 1024, batchTokens: 64, sequences: 2 },
  { contextTokens: 1024, batchTokens: 256, sequences: 1 },
  { contextTokens: 2048, batchTokens: 64, sequences: 4 },
  { contextTokens: 4096, batchTokens: 32, sequences: 1 },
];
const MODELS = [
  ["SmolLM2 135M", "smollm2-135m-instruct-q4_1"],
  ["Gemma 3 270M", "gemma-3-270m-q4_k_m"],
] as const;

export async function memoryRows(report: (row: Row) => void): Promise<void> {
  for (const [name, catalogName] of MODELS) {
    let path: string | undefined;
    try {
      path = modelPath(catalogName);
    } catch {
      path = undefined;
    }
    if (path === undefined || !existsSync(path)) {
      report({
        case: `RSS of ${name}`,
        measured: NaN,
        unit: "MiB",
        baseline_name: "not measured: pipit models fetch it",
      });
      continue;
    }
    const header = await readGgufHeader(path);
    for (const shape of SHAPES) {
      const measured = (await rssAfterAnswer(path, shape)) / MIB;
      const input = { model: header, kind: "decoder" as const, repackedTypes: [] };
      const predicted = predictMemory(input, shape).rssBytes / MIB;
      // Within a tenth or 24 MiB, whichever is more: 1 is the limit.
      const share = Math.abs(predicted - measured) / Math.max(24, measured / 10);
      const { contextTokens, batchTokens, sequences } = shape;
      report({
        case: `RSS of ${name}, ${contextTokens}/${batchTokens}/${sequences}: error in tolerances`,
        measured: share,
        unit: "",
        target: "<= 1",
        baseline: measured,
        baseline_name: "MiB measured",
        note: `predicted ${predicted.toFixed(0)}`,
      });
    }
  }
}

async function rssAfterAnswer(path: string, shape: MemoryShape): Promise<number> {
  const engine = new ChildEngine({ nice: 0 }, {}, quiet, systemClock);
  await engine.start();
  try {
    await engine.load({ name: "model", path, kind: "decoder", ...shape, maxThreads: 1 });
    const text = "The quick brown fox jumps over the lazy dog. ".repeat(Math.floor((shape.contextTokens * 0.7) / 10));
    await Promise.all(
      Array.from({ length: shape.sequences }, async (_, index) => {
        const turns = [{ role: "user" as const, text: `${index}. ${text}` }];
        const pieces = engine
          .generate({ id: `rss-${index}`, turns, maxTokens: 24, temperature: 0 })
          [Symbol.asyncIterator]();
        while (!(await pieces.next()).done);
      }),
    );
    return (await engine.measure()).memory.rssBytes;
  } finally {
    await engine.stop();
  }
}
