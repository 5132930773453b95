// An engine whose vectors are made of a text's words: texts that share words are alike. Its decoder prefers whatever
// `scoreOf` says. Counts its calls, so that tests see what was computed and what was remembered.
import { RequestError } from "../../src/core/errors.ts";
import type { ClassificationHead } from "../../src/core/classification-head.ts";
import type { ModelFile } from "../../src/core/model-file.ts";
import type { Embeddings, EmbedOptions, Engine, ScoreJob, Scores } from "../../src/core/ports.ts";

export const DIMENSIONS = 256;

/** A file as the keeper of an encoder gives it; its name tells it from others. */
export function encoderFile(name: string, head?: ClassificationHead): ModelFile {
  const shape = {
    ...{
      architecture: "bert",
      fileBytes: 25e6,
      contextTokens: 512,
      embeddingSize: DIMENSIONS,
      vocabularyTokens: 30_522,
    },
    ...{ kvHeadsByLayer: [], keyLength: 0, valueLength: 0, bytesByType: {} },
  };
  return { name, path: `/models/${name}.gguf`, sha256: name, kind: "encoder", shape, ...(head && { head }) };
}

export class FakeEncoder implements Pick<Engine, "embed" | "readout" | "score"> {
  /** Texts embedded so far, in order. */
  readonly embedded: string[] = [];
  readonly scored: ScoreJob[] = [];
  /** Pages the decoder was shown, in order. */
  readonly read: string[] = [];
  /** Called after each reading. */
  onRead: () => void = () => {};
  /** Log-probability of a candidate; all alike by default. */
  scoreOf: (candidate: string, job: ScoreJob) => number = () => -1;
  /** Held calls resolve when this does. */
  gate: Promise<void> = Promise.resolve();

  /** Words beyond this are cut, or `too_long`. */
  mostWords = 100;

  async embed(texts: string[], signal?: AbortSignal, { cut = false }: EmbedOptions = {}): Promise<Embeddings> {
    this.embedded.push(...texts);
    await this.gate;
    signal?.throwIfAborted();
    const words = texts.map((text) => text.split(" "));
    const tooLong = words.some((own) => own.length > this.mostWords);
    if (tooLong && !cut) throw new RequestError("too_long", "too many words");
    return {
      vectors: words.map((own) => vectorOf(own.slice(0, this.mostWords).join(" "))),
      tokens: words.map((own) => Math.min(own.length, this.mostWords) + 2),
      cut: words.map((own) => own.length > this.mostWords),
    };
  }

  async readout(pages: string[], signal?: AbortSignal): Promise<Embeddings> {
    await this.gate;
    signal?.throwIfAborted();
    this.read.push(...pages);
    this.onRead();
    const tokens = pages.map((page) => page.split(" ").length);
    return { vectors: pages.map((page) => vectorOf(page)), tokens, cut: pages.map(() => false) };
  }

  async score(job: ScoreJob, signal?: AbortSignal): Promise<Scores> {
    this.scored.push(job);
    signal?.throwIfAborted();
    const logProbabilities = job.candidates.map((candidate) => ({ sum: this.scoreOf(candidate, job), tokens: 1 }));
    return { logProbabilities, usage: { promptTokens: 40, cachedTokens: 30, completionTokens: 0 }, prefillMs: 5 };
  }
}

/** Each word has its own pseudo-random direction; a text is their sum. */
export function vectorOf(text: string, dimensions = DIMENSIONS): Float32Array {
  const vector = new Float32Array(dimensions).fill(0.05);
  for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []) {
    let state = [...word].reduce((hash, letter) => Math.imul(hash ^ letter.codePointAt(0)!, 0x01000193), 0x811c9dc5);
    for (let index = 0; index < dimensions; index++) {
      state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + index;
      vector[index]! += ((state >>> 8) & 0xffff) / 0x8000 - 1;
    }
  }
  return vector;
}
