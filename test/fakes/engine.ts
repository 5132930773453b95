// An engine without a model: a token is a word, an answer is what the test says, and its process dies on demand.
import { PipitError, RequestError } from "../../src/core/errors.ts";
import type {
  Embeddings,
  Engine,
  EngineReading,
  EngineStatus,
  GenerateJob,
  LoadedModel,
  ModelSpec,
  Piece,
  ProcessMemory,
  ScoreJob,
  Scores,
  Turn,
  Usage,
} from "../../src/core/ports.ts";
import { READOUT_DIMENSIONS } from "../../src/core/readout.ts";
import { vectorOf } from "./encoder.ts";

const MEMORY: ProcessMemory = { rssBytes: 3_000_000, anonymousBytes: 1_000_000, fileBytes: 2_000_000 };

export class FakeEngine implements Engine {
  /** What the model answers, piece by piece. */
  pieces: (job: GenerateJob) => string[] = () => ["The ", "capital ", "is ", "Paris."];
  /** Waited for before each piece: a test holds the model here. */
  beforePiece: (job: GenerateJob) => Promise<void> = () => Promise.resolve();
  /** Log-probability of a candidate given the last turn. */
  likelihood: (text: string, candidate: string) => number = () => -1;
  readonly generated: GenerateJob[] = [];
  readonly scored: ScoreJob[] = [];
  threads: { prefill: number; decode: number } | undefined;
  #spec: ModelSpec | undefined;
  #life = new AbortController();
  #running = false;
  #deaths = 0;
  /** Words of the last prompt: what a cache would hold. */
  #cached: string[] = [];

  get status(): EngineStatus {
    const state = this.#running ? (this.#spec ? "ready" : "empty") : "stopped";
    return { state, deaths: this.#deaths, ...(this.#spec && { model: loaded(this.#spec) }) };
  }

  start(): Promise<void> {
    this.#running = true;
    return Promise.resolve();
  }

  stop(): Promise<void> {
    this.#running = false;
    this.#life.abort(new PipitError("transient", "engine_stopped", "the engine is stopping"));
    return Promise.resolve();
  }

  /** The process dies: whatever is in flight is rejected, and a new one takes its place at once. */
  kill(): void {
    this.#deaths += 1;
    const dead = this.#life;
    this.#life = new AbortController();
    this.#cached = [];
    dead.abort(new PipitError("transient", "engine_died", "the model's process was killed"));
  }

  load(spec: ModelSpec, onProgress?: (fraction: number) => void): Promise<LoadedModel> {
    onProgress?.(1);
    this.#spec = spec;
    return Promise.resolve(loaded(spec));
  }

  unload(): Promise<void> {
    this.#spec = undefined;
    return Promise.resolve();
  }

  async *generate(job: GenerateJob, signal?: AbortSignal): AsyncGenerator<Piece> {
    const usage = this.#begin(job.turns, Math.min(job.maxTokens, 16), signal);
    this.generated.push(job);
    const life = this.#life.signal;
    const pieces = this.pieces(job);
    const written = pieces.slice(0, job.maxTokens);
    for (const text of written) {
      await whileAlive(this.beforePiece(job), life, signal);
      yield { kind: "text", text };
    }
    const finish = written.length < pieces.length ? "length" : "stop";
    yield {
      kind: "end",
      finish,
      usage: { ...usage, completionTokens: written.length },
      prefillMs: 4,
      generateMs: written.length * 10,
    };
  }

  async score(job: ScoreJob, signal?: AbortSignal): Promise<Scores> {
    const turns = typeof job.turns === "string" ? [{ role: "user" as const, text: job.turns }] : job.turns;
    const usage = this.#begin(turns, 1, signal);
    this.scored.push(job);
    await whileAlive(Promise.resolve(), this.#life.signal, signal);
    // Of a few-shot page, the message at its end.
    const text = (turns.at(-1)?.text ?? "").split("Message: ").at(-1)?.split("\nLabel:")[0] ?? "";
    const logProbabilities = job.candidates.map((candidate) => ({
      sum: this.likelihood(text, candidate.trim()) * words(candidate).length,
      tokens: words(candidate).length,
    }));
    return { logProbabilities, usage, prefillMs: 4 };
  }

  embed(): Promise<Embeddings> {
    return Promise.reject(new PipitError("transient", "model_unavailable", "no encoder is loaded"));
  }

  /** A page as a vector of its words: pages that share words are alike. */
  async readout(pages: string[], signal?: AbortSignal): Promise<Embeddings> {
    const vectors: Float32Array[] = [];
    const tokens: number[] = [];
    for (const page of pages) {
      const { promptTokens } = this.#begin([{ role: "user", text: page }], 1, signal);
      await whileAlive(Promise.resolve(), this.#life.signal, signal);
      vectors.push(vectorOf(page, READOUT_DIMENSIONS));
      tokens.push(promptTokens);
    }
    return { vectors, tokens, cut: pages.map(() => false) };
  }

  tokenize(turns: Turn[]): Promise<number[]> {
    return Promise.resolve(promptOf(turns).map((word) => word.length));
  }

  setThreads(threads: { prefill: number; decode: number }): void {
    this.threads = threads;
  }

  measure(): Promise<EngineReading> {
    return Promise.resolve({ memory: MEMORY, cpuMs: 1, involuntarySwitches: 0, majorFaults: 0 });
  }

  #begin(turns: readonly Turn[], answerTokens: number, signal: AbortSignal | undefined): Usage {
    if (signal?.aborted) throw aborted(signal);
    if (!this.#running) throw new PipitError("transient", "engine_died", "the model's process is not running");
    if (!this.#spec) throw new PipitError("transient", "model_unavailable", "no generative model is loaded");
    const prompt = promptOf(turns);
    const { contextTokens } = this.#spec;
    if (prompt.length + answerTokens > contextTokens) {
      throw new RequestError("too_long", `the prompt has ${prompt.length} tokens, the context holds ${contextTokens}`);
    }
    const differs = prompt.findIndex((word, index) => word !== this.#cached[index]);
    this.#cached = prompt;
    const cachedTokens = Math.min(differs < 0 ? prompt.length : differs, prompt.length - 1);
    return { promptTokens: prompt.length, cachedTokens, completionTokens: 0 };
  }
}

function loaded(spec: ModelSpec): LoadedModel {
  const { name, kind, contextTokens } = spec;
  return { name, kind, contextTokens, trainContextTokens: 8192, vocabularyTokens: 100, loadMs: 5, memory: MEMORY };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word.length > 0);
}

function promptOf(turns: readonly Turn[]): string[] {
  return turns.flatMap(({ role, text }) => [role, ...words(text)]);
}

function aborted(signal: AbortSignal): PipitError {
  return new PipitError("transient", "aborted", "cancelled", { cause: signal.reason });
}

/** `work`, unless the process dies or the caller gives up first. */
function whileAlive(work: Promise<void>, life: AbortSignal, signal: AbortSignal | undefined): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    if (life.aborted) return reject(life.reason as Error);
    if (signal?.aborted) return reject(aborted(signal));
    const die = () => reject(life.reason as Error);
    const giveUp = () => signal && reject(aborted(signal));
    life.addEventListener("abort", die);
    signal?.addEventListener("abort", giveUp);
    const end = () => {
      life.removeEventListener("abort", die);
      signal?.removeEventListener("abort", giveUp);
    };
    work.then(resolve, reject).finally(end);
  });
}
