// What `npm run bench -- classify` measures on: both models in one child process, and switches for which of them the
// classifiers may see.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "../../src/core/classifier.ts";
import { systemClock } from "../../src/core/clock.ts";
import { evaluate, type Evaluation, type Judged } from "../../src/core/evaluation.ts";
import { labelCandidates, labelPage } from "../../src/core/label-prompt.ts";
import type { ModelFile } from "../../src/core/model-file.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { Classifiers } from "../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../src/work/decoder-classifier.ts";
import { encoderFile } from "../fakes/encoder.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { homeIntents, outOfScope } from "../fixtures/home-intents.ts";
import type { PeerAnswers } from "./classify-peers.ts";

export const dev = homeIntents("dev");
export const names = [...new Set(dev.map(({ label }) => label))];
const signal = new AbortController().signal;

/** Each text once: repeats would come from the cache. */
export function everyText(): string[] {
  return [...new Set([...dev.map(({ text }) => text), ...outOfScope()])];
}

/** Which models may answer. */
export type Path = "head" | "decoder" | "cascade";

export class Rig {
  readonly #engine: ChildEngine;
  readonly #encoderFile: string;
  readonly decoderFile: string;

  private constructor(engine: ChildEngine, encoderFile: string, decoderFile: string) {
    this.#engine = engine;
    this.#encoderFile = encoderFile;
    this.decoderFile = decoderFile;
  }

  static async start(): Promise<Rig> {
    const encoder = pathOf("all-minilm-l6-v2-q8_0");
    const decoder = pathOf("smollm2-135m-instruct-q4_1");
    const entry = join(process.cwd(), "dist/engine/child.js");
    const engine = new ChildEngine({ entry, nice: 0 }, {}, new FakeLogger(), systemClock);
    await engine.start();
    const shape = { sequences: 1, maxThreads: 2 };
    const small = { contextTokens: 512, batchTokens: 512, ...shape };
    await engine.load({ name: "encoder", path: encoder, kind: "encoder", ...small });
    const large = { contextTokens: 2048, batchTokens: 64, ...shape };
    await engine.load({ name: "decoder", path: decoder, kind: "decoder", ...large });
    await setBestThreads(engine);
    return new Rig(engine, encoder, decoder);
  }

  async stop(): Promise<void> {
    await this.#engine.stop();
  }

  async measure(path: Path, perLabel: number): Promise<Evaluation> {
    const classifiers = this.#classifiers(path);
    const classifier = definition(perLabel);
    await classifiers.classify({ classifier, text: "warming up" }, signal);
    const judged: Judged[] = [];
    const texts = [...dev, ...outOfScope().map((text) => ({ text, label: null }))];
    for (const { text, label: expected } of texts) {
      const startedMs = performance.now();
      const verdict = await classifiers.classify({ classifier, text, explain: true }, signal);
      const latencyMs = performance.now() - startedMs;
      const similarity = verdict.nearest?.similarity ?? verdict.confidence;
      const { label, confidence, by } = verdict;
      judged.push({ text, expected, label, best: label ?? "", confidence, similarity, by, latencyMs });
    }
    return evaluate(judged, names);
  }

  /** Messages a second through the head. */
  async throughput(inFlight: number): Promise<number> {
    const classifiers = this.#classifiers("head");
    const classifier = definition(8);
    await classifiers.classify({ classifier, text: "warming up" }, signal);
    const waiting = everyText();
    const count = waiting.length;
    const startedMs = performance.now();
    const worker = async () => {
      for (let text = waiting.pop(); text !== undefined; text = waiting.pop())
        await classifiers.classify({ classifier, text }, signal);
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
    return (count / (performance.now() - startedMs)) * 1000;
  }

  /** What the decoder says by itself: the likeliest label after the examples, nothing taken away. */
  async rawScores(perLabel: number): Promise<PeerAnswers> {
    const labels = names.map((name) => ({ name }));
    const prompt = { labels, examples: homeIntents("examples", perLabel) };
    const answers: PeerAnswers = { labels: [], latenciesMs: [] };
    for (const { text } of dev) {
      const startedMs = performance.now();
      const job = { id: "raw", turns: labelPage(prompt, text), candidates: labelCandidates(labels) };
      const { logProbabilities } = await this.#engine.score(job, signal);
      const sums = logProbabilities.map(({ sum }) => sum);
      answers.labels.push(names[sums.indexOf(Math.max(...sums))]);
      answers.latenciesMs.push(performance.now() - startedMs);
    }
    return answers;
  }

  #classifiers(path: Path): Classifiers {
    return new Classifiers([], {
      engine: this.#engine,
      clock: systemClock,
      log: new FakeLogger(),
      encoder: () => (path === "decoder" ? undefined : fileOf("encoder", this.#encoderFile)),
      decoder: new DecoderClassifier(this.#engine),
      decoderModel: () => (path === "head" ? undefined : fileOf("decoder", this.decoderFile)),
    });
  }
}

function fileOf(name: string, path: string): ModelFile {
  return { ...encoderFile(name), path };
}

/** One thread or two, whichever is faster beside what else runs here: what the governor of an agent would come to. */
async function setBestThreads(engine: ChildEngine): Promise<void> {
  const texts = dev.slice(0, 20).map(({ text }) => text);
  const took = new Map<number, number>();
  for (const threads of [1, 2, 1, 2]) {
    engine.setThreads({ prefill: threads, decode: threads });
    const startedMs = performance.now();
    await engine.embed(texts);
    const ms = performance.now() - startedMs;
    took.set(threads, Math.max(ms, took.get(threads) ?? 0));
  }
  const best = (took.get(2) ?? 0) < (took.get(1) ?? 0) ? 2 : 1;
  engine.setThreads({ prefill: best, decode: best });
}

/** Of a stored model; `pipit models fetch NAME` gets it. */
function pathOf(name: string): string {
  return execFileSync(process.execPath, ["dist/main.js", "models", "path", name]).toString().trim();
}

function definition(perLabel: number): ClassifierDefinition {
  const labels = names.map((name) => ({ name }));
  return defineClassifier({ name: "home", labels, examples: labelledTexts(homeIntents("examples", perLabel)) });
}
