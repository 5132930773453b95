// Classification of home intents by head, decoder and cascade, against what else the same generative model can do in the
// same run: llama-server writing the label (shown the examples on our page, where it is better than as turns of a chat), the
// library's decision context, the raw label scores.
import type { Evaluation } from "../../src/core/evaluation.ts";
import { startAgent } from "../fixtures/agent.ts";
import { homeIntents } from "../fixtures/home-intents.ts";
import { type Bench, median, type Row } from "./bench.ts";
import { smallBoardRows } from "./classify-small-board.ts";
import { byDecisionContext, byLlamaServer, type PeerAnswers, type Showing } from "./classify-peers.ts";
import { drawClassify } from "./classify-picture.ts";
import { dev, everyText, names, Rig } from "./classify-rig.ts";

type Report = (row: Row) => void;
type Baseline = Pick<Row, "baseline" | "baseline_name">;

const IN_FLIGHT = 8;

export const bench: Bench = {
  name: "classify",
  summary: `${dev.length} home intents, ${names.length} labels, 8 and 3 examples a label; one sentence is ${(1 / dev.length).toFixed(4)}`,
  async run(report) {
    const rig = await Rig.start();
    try {
      const raw = await rig.rawScores(8);
      const server = await serverAnswers(rig.decoderFile);
      const context = await byDecisionContext(rig.decoderFile, names, textsOf(dev));
      const versusServer = (value: (answers: PeerAnswers) => number, perLabel: 8 | 3): Baseline => {
        const answers = server?.[perLabel];
        if (answers === undefined) return { baseline_name: "llama-server not present (LLAMA_SERVER)" };
        return { baseline: value(answers.page), baseline_name: "llama-server, grammar, same examples" };
      };
      await headRows(rig, report, versusServer);
      await decoderRows(rig, report, raw, context);
      if (server) serverRows(server, report);
      await busRows(report, versusServer(latency, 8));
      await busThroughputRow(
        report,
        versusServer((own) => 1000 / latency(own), 8),
      );
    } finally {
      await rig.stop();
    }
    await smallBoardRows(report);
  },
  picture: drawClassify,
};

type VersusServer = (value: (answers: PeerAnswers) => number, perLabel: 8 | 3) => Baseline;

async function headRows(rig: Rig, report: Report, versusServer: VersusServer): Promise<void> {
  const eight = await rig.measure("head", 8);
  const three = await rig.measure("head", 3);
  report({ ...accuracyRow("head, 8 examples a label", eight, ">= 0.95"), ...versusServer(accuracy, 8) });
  report({ ...accuracyRow("head, 3 examples a label", three, ">= 0.89"), ...versusServer(accuracy, 3) });
  const chance = { baseline: 0.5, baseline_name: "chance" };
  const scope = { measured: eight.outOfScopeAuroc ?? NaN, unit: "", target: ">= 0.93", ...chance };
  report({ ...calibrationRow("head, 8", eight) });
  report({ ...calibrationRow("head, 3", three) });
  report({ case: "head, 8: out of scope AUROC", ...scope });
  const ms = { measured: eight.paths[0]?.p50Ms ?? NaN, unit: "ms", target: "<= 8" };
  report({ case: "head: engine p50", ...ms, ...versusServer(latency, 8) });
  const speed = { measured: await rig.throughput(IN_FLIGHT), unit: "msg/s", target: ">= 150" };
  report({ case: `head, ${IN_FLIGHT} in flight`, ...speed, ...versusServer((own) => 1000 / latency(own), 8) });
  const cascade = await rig.measure("cascade", 8);
  const asked = cascade.paths.find(({ by }) => by === "decoder")?.cases ?? 0;
  const alone = { baseline: eight.accuracy, baseline_name: "head alone" };
  const row = accuracyRow("cascade, 8 examples a label", cascade, ">= 0.96");
  report({ ...row, ...alone, note: `${row.note}; the decoder was asked ${asked} times` });
  report({ ...calibrationRow("cascade, 8", cascade) });
}

async function decoderRows(rig: Rig, report: Report, raw: PeerAnswers, context: PeerAnswers): Promise<void> {
  const eight = await rig.measure("decoder", 8);
  const three = await rig.measure("decoder", 3);
  const versusRaw = { baseline: accuracy(raw), baseline_name: "raw label scores" };
  report({ ...accuracyRow("decoder, 8 examples a label", eight, ">= 0.84"), ...versusRaw });
  report({ ...accuracyRow("decoder, 3 examples a label", three) });
  report({ ...calibrationRow("decoder, 8", eight) });
  const scope = { measured: eight.outOfScopeAuroc ?? NaN, unit: "", baseline: 0.5, baseline_name: "chance" };
  report({ case: "decoder, 8: out of scope AUROC", ...scope });
  const ms = { measured: eight.paths[0]?.p50Ms ?? NaN, unit: "ms", target: "<= 130" };
  report({ case: "decoder: engine p50", ...ms, baseline: latency(raw), baseline_name: "raw label scores" });
  const versusUs = { baseline: eight.accuracy, baseline_name: "decoder path" };
  report({ case: "decision context of node-llama-cpp", measured: accuracy(context), unit: "", ...versusUs });
  const slower = { baseline: eight.paths[0]?.p50Ms ?? NaN, baseline_name: "decoder path" };
  report({ case: "decision context: p50", measured: latency(context), unit: "ms", ...slower });
}

type ServerAnswers = Record<8 | 3, Record<Showing, PeerAnswers>>;

async function serverAnswers(model: string): Promise<ServerAnswers | undefined> {
  const program = process.env["LLAMA_SERVER"];
  if (!program) return undefined;
  const ask = async (perLabel: number) => {
    const prompt = { labels: names.map((name) => ({ name })), examples: homeIntents("examples", perLabel) };
    const by = (showing: Showing) => byLlamaServer(program, model, showing, prompt, textsOf(dev));
    return { chat: await by("chat"), page: await by("page") };
  };
  return { 8: await ask(8), 3: await ask(3) };
}

function serverRows(server: ServerAnswers, report: Report): void {
  for (const perLabel of [8, 3] as const) {
    const { chat, page } = server[perLabel];
    const name = `llama-server, grammar, ${perLabel} examples a label`;
    const asChat = { baseline: accuracy(chat), baseline_name: "with the examples as turns of a chat" };
    report({ case: `${name}: accuracy`, measured: accuracy(page), unit: "", ...asChat });
    const slower = { baseline: latency(chat), baseline_name: "with the examples as turns of a chat" };
    report({ case: `${name}: p50`, measured: latency(page), unit: "ms", ...slower });
  }
}

/** Over MQTT, with an agent of its own: what a sender waits for. */
async function busRows(report: Report, baseline: Baseline): Promise<void> {
  const agent = await startAgent({
    set: { "classify.labels": JSON.stringify(names), "classify.examples": JSON.stringify(homeIntents("examples")) },
  });
  try {
    await agent.ask({ text: "warming up" }, "classify");
    const answers: PeerAnswers = { labels: [], latenciesMs: [] };
    for (const { text } of dev) {
      const { reply, totalMs } = await agent.ask({ text }, "classify");
      answers.latenciesMs.push(totalMs);
      answers.labels.push(reply.label ?? undefined);
    }
    report({ case: "over MQTT: p50", measured: latency(answers), unit: "ms", target: "<= 14", ...baseline });
    report({ case: "over MQTT: accuracy", measured: accuracy(answers), unit: "" });
  } finally {
    await agent.stop();
  }
}

/** Over MQTT through the head alone, each text once; the asker, its broker and the agent share the cores. */
async function busThroughputRow(report: Report, baseline: Baseline): Promise<void> {
  const home = { name: "home", labels: names, examples: homeIntents("examples"), decoder_margin: 0 };
  const agent = await startAgent({
    set: { "classify.classifiers": JSON.stringify([home]), "classify.classifier": "home" },
    ready: "encoders",
  });
  try {
    await agent.ask({ text: "warming up" }, "classify");
    const waiting = everyText();
    const count = waiting.length;
    const startedMs = performance.now();
    const asker = async (name: string) => {
      for (let text = waiting.pop(); text !== undefined; text = waiting.pop()) {
        const { reply } = await agent.ask({ text }, "classify", name);
        if (reply.by !== "head")
          throw new Error(`${JSON.stringify(text)} was answered by ${reply.by}: ${reply.status}`);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, (_, index) => asker(`asker-${index}`)));
    const measured = (count / (performance.now() - startedMs)) * 1000;
    report({ case: `over MQTT: head, ${IN_FLIGHT} in flight`, measured, unit: "msg/s", target: ">= 150", ...baseline });
  } finally {
    await agent.stop();
  }
}

function accuracyRow(name: string, found: Evaluation, target?: string): Row {
  const [low, high] = wilson(found.accuracy, found.cases);
  const note = `95 % interval ${low.toFixed(3)} to ${high.toFixed(3)}`;
  return { case: `${name}: accuracy`, measured: found.accuracy, unit: "", ...(target && { target }), note };
}

/** Against taking every answer at its word: all as sure as one can be. */
function calibrationRow(name: string, found: Evaluation): Row {
  const sure = { baseline: 1 - found.accuracy, baseline_name: "always sure" };
  return { case: `${name}: calibration error`, measured: found.calibrationError, unit: "", target: "<= 0.06", ...sure };
}

/** The interval of Wilson (1927) that holds the true share in 95 of 100 samples. */
function wilson(share: number, cases: number): [low: number, high: number] {
  const z = 1.96;
  const centre = share + z ** 2 / (2 * cases);
  const half = z * Math.sqrt((share * (1 - share)) / cases + z ** 2 / (4 * cases ** 2));
  return [(centre - half) / (1 + z ** 2 / cases), (centre + half) / (1 + z ** 2 / cases)];
}

function textsOf(examples: readonly { text: string }[]): string[] {
  return examples.map(({ text }) => text);
}

function accuracy({ labels }: PeerAnswers): number {
  return labels.filter((label, index) => label === dev[index]?.label).length / dev.length;
}

function latency({ latenciesMs }: PeerAnswers): number {
  return median(latenciesMs);
}
