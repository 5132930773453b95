// The governor against the best fixed thread count, found by a sweep under the same load in the same run, and against the
// library's defaults. `PIPIT_BENCH_CASES=idle,hogs` runs a part; `PIPIT_BENCH_TRACES=DIR` keeps the traces of the cases.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { timeline } from "../../src/commands/terminal-plot.ts";
import { parseTrace, replay, summarise } from "../../src/core/trace.ts";
import { type Bench, median, type Row } from "./bench.ts";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { groupRows } from "./governor-group.ts";
import { memoryRows } from "./governor-memory.ts";
import { poolRows } from "./governor-pool.ts";
import { cores, GovernorRig, modelPath, type TimedStep } from "./governor-rig.ts";
import { defaultsTokensPerSecond } from "./library-defaults.ts";
import { besideHogs, bursts, Hog, latenessP99 } from "./neighbours.ts";

type Report = (row: Row) => void;
type Case = (rig: GovernorRig, report: Report) => Promise<void>;

const ROUNDS = 5;
/** Limits and neighbours are seen within two seconds; calm needs five. */
const SETTLE_MS = 7000;

const CASES: Record<string, Case> = { idle, hogs, arrival, departure, bursty, limits, lateness };

export const bench: Bench = {
  name: "governor",
  summary: "threads by the governor against the best fixed count under the same load",
  async run(report) {
    const wanted = process.env["PIPIT_BENCH_CASES"]?.split(",");
    const names = Object.keys(CASES).filter((name) => !wanted || wanted.includes(name));
    if (names.length > 0) {
      const rig = await GovernorRig.start();
      try {
        await calibration(rig, report);
        for (const name of names) {
          await rig.waitForCalm();
          await sleep(SETTLE_MS);
          rig.takeTrace();
          await CASES[name]?.(rig, report);
          keepTrace(name, rig.takeTrace());
        }
      } finally {
        await rig.stop();
      }
    }
    if (!wanted || wanted.includes("pool")) await poolRows(report);
    if (!wanted || wanted.includes("memory")) await memoryRows(report);
    if (!wanted || wanted.includes("group")) await groupRows(report);
  },
};

function calibration(rig: GovernorRig, report: Report): Promise<void> {
  const { card } = rig;
  const note = card ? JSON.stringify(card.curve) : "no calm moment: the governor goes without a curve";
  report({ case: "calibration sweep", measured: (card?.tookMs ?? NaN) / 1000, unit: "s", target: "<= 40", note });
  for (const { sequences, threads, tokensPerSecond } of card?.batching ?? []) {
    report({
      case: `${sequences} sequences in a batch`,
      measured: tokensPerSecond,
      unit: "tok/s",
      note: `${threads} threads`,
    });
  }
  return Promise.resolve();
}

async function idle(rig: GovernorRig, report: Report): Promise<void> {
  const { decode, prefill } = await rig.against(ROUNDS * 2);
  for (const [phase, result] of Object.entries({ decode, prefill })) {
    report({
      case: `idle, ${phase}: governed / best fixed`,
      measured: result.governed / result.best,
      unit: "x",
      target: ">= 0.95",
      baseline: result.best,
      baseline_name: `tok/s on ${result.threads} threads`,
    });
  }
}

async function hogs(rig: GovernorRig, report: Report): Promise<void> {
  for (const [count, target] of [
    [1, ">= 0.90"],
    [2, ">= 0.85"],
  ] as const) {
    await besideHogs(count, async () => {
      const { decode } = await rig.against(ROUNDS);
      report({
        case: `${count} hogs, decode: governed / best fixed`,
        measured: decode.governed / decode.best,
        unit: "x",
        target,
        baseline: decode.best,
        baseline_name: `tok/s on ${decode.threads} threads`,
      });
      const defaults = await defaultsTokensPerSecond(modelPath());
      report({
        case: `${count} hogs: governed / library's defaults`,
        measured: decode.governed / defaults,
        unit: "x",
        baseline: defaults,
        baseline_name: "tok/s of node-llama-cpp's defaults",
      });
    });
    await sleep(SETTLE_MS);
  }
}

/** A hog appears in the middle of an answer. */
async function arrival(rig: GovernorRig, report: Report): Promise<void> {
  const best = await besideHogs(1, async () => (await rig.against(3)).decode.best);
  const longest: number[] = [];
  const recovered: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await sleep(SETTLE_MS);
    rig.steps.length = 0;
    const stop = new AbortController();
    const answers = answerUntil(rig, stop.signal);
    await sleep(1500);
    const hog = new Hog();
    const cameMs = performance.now();
    await sleep(4500);
    stop.abort();
    await answers;
    await hog.stop();
    const after = rig.steps.filter(({ phase, endedMs }) => phase === "decode" && endedMs > cameMs);
    const firstSlow = after.findIndex(({ ms }) => ms > 40);
    longest.push(Math.max(0, ...after.slice(firstSlow + 1).map(({ ms }) => ms)));
    recovered.push(speedBetween(after, cameMs + 2000, cameMs + 4000) / best);
  }
  draw("hog appears", rig);
  report({
    case: "hog appears: longest later step, worst round",
    measured: Math.max(...longest),
    unit: "ms",
    target: "<= 1500",
  });
  report({
    case: "hog appears: speed 2 to 4 s later / best fixed",
    measured: median(recovered),
    unit: "x",
    target: ">= 0.8",
    baseline: best,
    baseline_name: "tok/s beside a hog",
  });
}

/** A hog leaves in the middle of an answer: seconds until 0.9 of the calm speed. */
async function departure(rig: GovernorRig, report: Report): Promise<void> {
  const calm = (await rig.against(3)).decode.best;
  const seconds: number[] = [];
  for (let round = 0; round < 3; round++) {
    const hog = new Hog();
    await sleep(2000);
    const stop = new AbortController();
    rig.steps.length = 0;
    const answers = answerUntil(rig, stop.signal);
    await sleep(2000);
    await hog.stop();
    const leftMs = performance.now();
    await sleep(20_000);
    stop.abort();
    await answers;
    const back = [...Array(39).keys()]
      .map((half) => leftMs + half * 500)
      .find((from) => speedBetween(rig.steps, from, from + 1000) >= 0.9 * calm);
    seconds.push(back === undefined ? Infinity : (back - leftMs) / 1000);
  }
  draw("hog leaves", rig);
  report({ case: "hog leaves: back at 0.9 of calm after", measured: median(seconds), unit: "s", target: "<= 20" });
}

async function bursty(rig: GovernorRig, report: Report): Promise<void> {
  const FOR_MS = 60_000;
  const calm = (await rig.against(3)).decode.best;
  const busy = await besideHogs(1, async () => (await rig.against(3)).decode.best);
  await sleep(SETTLE_MS);
  rig.takeTrace();
  rig.steps.length = 0;
  const stop = new AbortController();
  const over = sleep(FOR_MS);
  const startMs = performance.now();
  const answers = answerUntil(rig, stop.signal);
  await bursts(1000, 1000, over);
  stop.abort();
  await answers;
  const speed = speedBetween(rig.steps, startMs, startMs + FOR_MS);
  const oracle = (calm + busy) / 2;
  const summary = summarise(replay(parseTrace(rig.takeTrace())));
  report({
    case: "neighbour 1 s on, 1 s off: governed / oracle",
    measured: speed / oracle,
    unit: "x",
    target: ">= 0.75",
    baseline: oracle,
    baseline_name: "tok/s of an oracle",
  });
  report({
    case: "neighbour 1 s on, 1 s off: changes a minute",
    measured: summary.mostChangesAMinute,
    unit: "",
    target: "<= 6",
  });
}

async function limits(rig: GovernorRig, report: Report): Promise<void> {
  const why = whyNoGroups();
  const pids = [process.pid, rig.engine.status.pid as number];
  const cases = [
    ["cpuset of 1 core", { kind: "cpuset", cpus: "0" }],
    ["CPU quota of 50 %", { kind: "quota", cores: 0.5 }],
    ["CPU quota of 100 %", { kind: "quota", cores: 1 }],
    ["CPU quota of 150 %", { kind: "quota", cores: 1.5 }],
  ] as const;
  for (const [name, limit] of cases) {
    if (why !== undefined) {
      report({
        case: `${name}: governed / best fixed`,
        measured: NaN,
        unit: "x",
        baseline_name: `not measured: ${why}`,
      });
      continue;
    }
    await underLimit(limit, pids, async () => {
      await sleep(SETTLE_MS);
      const { decode } = await rig.against(ROUNDS);
      report({
        case: `${name}: governed / best fixed`,
        measured: decode.governed / decode.best,
        unit: "x",
        target: ">= 0.9",
        baseline: decode.best,
        baseline_name: `tok/s on ${decode.threads} threads`,
      });
    });
    await sleep(SETTLE_MS);
  }
}

/** A task that wakes ten times a second, beside a silent agent and beside one that answers, in turns. */
async function lateness(rig: GovernorRig, report: Report): Promise<void> {
  const FOR_MS = 20_000;
  const calm: number[] = [];
  const busy: number[] = [];
  for (let round = 0; round < 3; round++) {
    calm.push(await latenessP99(FOR_MS));
    const stop = new AbortController();
    const answers = answerUntil(rig, stop.signal);
    await sleep(500);
    busy.push(await latenessP99(FOR_MS));
    stop.abort();
    await answers;
  }
  report({
    case: "10 Hz neighbour: p99 lateness / its own at idle",
    measured: median(busy) / median(calm),
    unit: "x",
    target: "<= 1.5",
    baseline: median(calm),
    baseline_name: "ms at idle",
  });
}

/** Answers one after the other until the signal fires; the last one is cut. */
async function answerUntil(rig: GovernorRig, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await rig.governed(400, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
  }
}

/** Tokens a second that were written between two moments. */
function speedBetween(steps: readonly TimedStep[], fromMs: number, toMs: number): number {
  const written = steps.filter(({ phase, endedMs }) => phase === "decode" && endedMs >= fromMs && endedMs < toMs);
  return (written.reduce((sum, { tokens }) => sum + tokens, 0) * 1000) / (toMs - fromMs);
}

/** The picture of a case: neighbours and threads over its time. */
function draw(name: string, rig: GovernorRig): void {
  const samples = rig.trace.flatMap((entry) => ("readings" in entry ? [entry] : []));
  const row = (value: (sample: (typeof samples)[number]) => number) =>
    timeline(
      samples.map((sample) => ({ atMs: sample.readings.atMs, value: value(sample) })),
      cores,
      72,
    );
  console.log(`     ${name}`);
  console.log(`     neighbours │${row(({ readings }) => readings.foreignCores)}│`);
  console.log(`     threads    │${row(({ threads }) => threads.decode)}│`);
}

function keepTrace(name: string, text: string): void {
  const directory = process.env["PIPIT_BENCH_TRACES"];
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${name}.jsonl`), text);
}
