// Classification of home intents by head, cascade and decoder, against what else the same generative model can do:
// llama-server writing the label, the library's decision context, the raw scores.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { defineClassifier, labelledTexts } from "../../src/core/classifier.ts";
import { systemClock } from "../../src/core/clock.ts";
import { evaluate, type Evaluation, type Judged } from "../../src/core/evaluation.ts";
import { labelCandidates, labelPage } from "../../src/core/label-prompt.ts";
import type { ModelFile } from "../../src/core/model-file.ts";
import { ChildEngine } from "../../src/engine/child-engine.ts";
import { Classifiers } from "../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../src/work/decoder-classifier.ts";
import { encoderFile } from "../fakes/encoder.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { startAgent } from "../fixtures/agent.ts";
import { homeIntents, outOfScope } from "../fixtures/home-intents.ts";
import { type Bench, median, type Row } from "./bench.ts";
import { smallBoardRows } from "./classify-small-board.ts";
import { byDecisionContext, byLlamaServer, type PeerAnswers } from "./classify-peers.ts";

type Report = (row: Row) => void;

const dev = homeIntents("dev");
const names = [...new Set(dev.map(({ label }) => label))];
const signal = new AbortController().signal;
const IN_FLIGHT = 8;

export const bench: Bench = {
  name: "classify",
  summary: `${dev.length} home intents, ${names.length} labels, 8 and 3 examples a label`,
  async run(report) {
    const rig = await Rig.start();
    try {
      await headRows(rig, report);
      await decoderRows(rig, report);
    } finally {
      await rig.engine.stop();
    }
    await peerRows(rig.decoderFile, report);
    await busRows(report);
    await smallBoardRows(report);
  },
};

/** Both models in one child, and switches for which of them the classifiers may see. */
class Rig {
  readonly engine: ChildEngine;
  readonly decoderFile: string;
  readonly #encoderFile: ModelFile;
  encoder = true;
  decoder = false;

  private constructor(engine: ChildEngine, encoderPath: string, decoderFile: string) {
    this.engine = engine;
    this.#encoderFile = { ...encoderFile("encoder"), path: encoderPath };
    this.decoderFile = decoderFile;
  }

  static async start(): Promise<Rig> {
    const encoder = pathOf("all-minilm-l6-v2-q8_0");
    const decoder = pathOf("smollm2-135m-instruct-q4_1");
    const entry = join(process.cwd(), "dist/engine/child.js");
    const engine = new ChildEngine({ entry, nice: 0 }, {}, new FakeLogger(), systemClock);
    await engine.start();
    const shape = { sequences: 1, maxThreads: 2 };
    await engine.load({
      name: "encoder",
      path: encoder,
      kind: "encoder",
      contextTokens: 512,
      batchTokens: 512,
      ...shape,
    });
    await engine.load({
      name: "decoder",
      path: decoder,
      kind: "decoder",
      contextTokens: 2048,
      batchTokens: 64,
      ...shape,
    });
    await setBestThreads(engine);
    return new Rig(engine, encoder, decoder);
  }

  classifiers(): Classifiers {
    return new Classifiers([], {
      engine: this.engine,
      clock: systemClock,
      log: new FakeLogger(),
      encoder: () => (this.encoder ? this.#encoderFile : undefined),
      decoder: new DecoderClassifier(this.engine),
      decoderLoaded: () => this.decoder,
    });
  }

  async measure(perLabel: number): Promise<Evaluation> {
    const classifiers = this.classifiers();
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

function definition(perLabel: number) {
  const labels = names.map((name) => ({ name }));
  return defineClassifier({ name: "home", labels, examples: labelledTexts(homeIntents("examples", perLabel)) });
}

async function headRows(rig: Rig, report: Report): Promise<void> {
  const eight = await rig.measure(8);
  const three = await rig.measure(3);
  report({ case: "head, 8 examples a label: accuracy", measured: eight.accuracy, unit: "", target: ">= 0.95" });
  report({ case: "head, 3 examples a label: accuracy", measured: three.accuracy, unit: "", target: ">= 0.89" });
  report({ case: "head, 8: calibration error", measured: eight.calibrationError, unit: "", target: "<= 0.06" });
  report({ case: "head, 3: calibration error", measured: three.calibrationError, unit: "", target: "<= 0.06" });
  report({ case: "head, 8: out of scope AUROC", measured: eight.outOfScopeAuroc ?? NaN, unit: "", target: ">= 0.93" });
  report({ case: "head: engine p50", measured: eight.paths[0]?.p50Ms ?? NaN, unit: "ms", target: "<= 8" });
  report({ case: `head, ${IN_FLIGHT} in flight`, measured: await throughput(rig), unit: "msg/s", target: ">= 150" });
  rig.decoder = true;
  const cascade = await rig.measure(8);
  const asked = cascade.paths.find(({ by }) => by === "decoder")?.cases ?? 0;
  const note = `the decoder was asked ${asked} times`;
  report({ case: "cascade, 8: accuracy", measured: cascade.accuracy, unit: "", target: ">= 0.96", note });
}

async function throughput(rig: Rig): Promise<number> {
  const classifiers = rig.classifiers();
  const classifier = definition(8);
  await classifiers.classify({ classifier, text: "warming up" }, signal);
  // Every text once: repeats would come from the cache.
  const texts = [...dev.map(({ text }) => text), ...outOfScope()];
  const waiting = [...new Set(texts)];
  const count = waiting.length;
  const startedMs = performance.now();
  const worker = async () => {
    for (let text = waiting.pop(); text !== undefined; text = waiting.pop())
      await classifiers.classify({ classifier, text }, signal);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return (count / (performance.now() - startedMs)) * 1000;
}

async function decoderRows(rig: Rig, report: Report): Promise<void> {
  rig.encoder = false;
  rig.decoder = true;
  const found = await rig.measure(8);
  const prompt = { labels: names.map((name) => ({ name })), examples: homeIntents("examples") };
  let right = 0;
  for (const { text, label } of dev) {
    const job = { id: "raw", turns: labelPage(prompt, text), candidates: labelCandidates(prompt.labels) };
    const { logProbabilities } = await rig.engine.score(job, signal);
    const sums = logProbabilities.map(({ sum }) => sum);
    if (names[sums.indexOf(Math.max(...sums))] === label) right += 1;
  }
  const raw = { baseline: right / dev.length, baseline_name: "raw scores" };
  report({ case: "decoder, 8: accuracy", measured: found.accuracy, unit: "", target: ">= 0.84", ...raw });
  report({ case: "decoder: engine p50", measured: found.paths[0]?.p50Ms ?? NaN, unit: "ms", target: "<= 130" });
}

async function peerRows(model: string, report: Report): Promise<void> {
  const texts = dev.map(({ text }) => text);
  const tell = (name: string, { labels, latenciesMs }: PeerAnswers) => {
    const accuracy = labels.filter((label, index) => label === dev[index]?.label).length / dev.length;
    report({ case: `${name}: accuracy`, measured: accuracy, unit: "" });
    report({ case: `${name}: p50`, measured: median(latenciesMs), unit: "ms" });
  };
  const server = process.env["LLAMA_SERVER"];
  const name = "llama-server, grammar of the labels, 8 examples";
  if (server) tell(name, await byLlamaServer(server, model, names, homeIntents("examples"), texts));
  else report({ case: name, measured: NaN, unit: "", note: "not present (LLAMA_SERVER)" });
  tell("node-llama-cpp decision context", await byDecisionContext(model, names, texts));
}

/** Over MQTT, with an agent of its own: what a sender waits for. */
async function busRows(report: Report): Promise<void> {
  const agent = await startAgent({
    set: { "classify.labels": JSON.stringify(names), "classify.examples": JSON.stringify(homeIntents("examples")) },
  });
  try {
    await agent.ask({ text: "warming up" }, "classify");
    const waits: number[] = [];
    let right = 0;
    for (const { text, label } of dev) {
      const { reply, totalMs } = await agent.ask({ text }, "classify");
      waits.push(totalMs);
      if (reply.label === label) right += 1;
    }
    report({ case: "over MQTT: p50", measured: median(waits), unit: "ms", target: "<= 14" });
    report({ case: "over MQTT: accuracy", measured: right / dev.length, unit: "" });
  } finally {
    await agent.stop();
  }
}
