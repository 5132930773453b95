// Imported models in llama.cpp itself, against what torch computed (bert-reference.py).
import { join } from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { describe, expect, it } from "vitest";
import { applyClassificationHead } from "../../src/core/classification-head.ts";
import { readGgufHeader } from "../../src/models/gguf-header.ts";
import { readClassificationHead } from "../../src/models/classification-head.ts";
import { importModel, type ImportType } from "../../src/models/import-model.ts";
import { bertReference, writeBertDirectory } from "../fixtures/bert-directory.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";

async function logitsOf(kind: "distilbert" | "bert", type: ImportType): Promise<number[][]> {
  const root = await temporaryDirectory();
  const target = join(root, "model.gguf");
  await writeBertDirectory(join(root, "hf"), kind);
  await importModel({ directory: join(root, "hf"), target, type, onProgress: () => {} });
  const head = await readClassificationHead(target, await readGgufHeader(target));
  if (head === undefined) throw new Error("no head");
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.disabled, progressLogs: false });
  const model = await llama.loadModel({ modelPath: target, gpuLayers: 0 });
  const context = await model.createEmbeddingContext({ contextSize: 64, batchSize: 64, threads: 1 });
  const logits: number[][] = [];
  for (const ids of (await bertReference()).model_ids) {
    const { vector } = await context.getEmbeddingFor(ids as never[]);
    logits.push(applyClassificationHead(head, Float32Array.from(vector)));
  }
  await context.dispose();
  await model.dispose();
  await llama.dispose();
  return logits;
}

function softmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

describe("an imported classifier", () => {
  it.each([
    ["distilbert", "f16", 0.01],
    ["bert", "f16", 0.01],
    ["distilbert", "q8_0", 0.2],
    ["bert", "q8_0", 0.2],
  ] as const)("of kind %s in %s gives torch's labels and probabilities within %d", async (kind, type, most) => {
    const expected = (await bertReference()).models[kind].logits;
    const logits = await logitsOf(kind, type);
    const differences = expected.flatMap((row, i) => {
      const [wanted, got] = [softmax(row), softmax(logits[i] ?? [])];
      if (type === "f16") expect(got.indexOf(Math.max(...got))).toBe(wanted.indexOf(Math.max(...wanted)));
      return wanted.map((probability, k) => Math.abs(probability - (got[k] ?? 0)));
    });
    expect(differences.length).toBeGreaterThan(30);
    expect(Math.max(...differences)).toBeLessThanOrEqual(most);
  });
});
