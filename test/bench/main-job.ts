// The main job against what it is made of: the bare evaluate loop, llama.cpp's own bench, the best fixed thread count.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Agent, startAgent } from "../fixtures/agent.ts";
import { type Bench, median, quantile, type Row } from "./bench.ts";

const STORY = { text: "Write a long story about a fox.", max_tokens: 128, temperature: 0 };
const TOKENS = 128;
const PAIRS = 5;
/** The generative model alone, as the targets mean it. */
const CONTEXT = { "model.context_tokens": 1024, "model.encoder": "none" };

export const bench: Bench = {
  name: "main-job",
  summary: "a question over MQTT against the bare loop, llama.cpp's bench and fixed thread counts",
  async run(report) {
    const model = execFileSync(process.execPath, ["dist/main.js", "models", "path", "smollm2-135m-instruct-q4_1"])
      .toString()
      .trim();
    const agent = await startAgent({ set: CONTEXT, calibrated: true });
    try {
      await speed(agent, model, report);
      await overhead(agent, report);
      await besideHog(agent, model, report);
      await idle(agent, report);
    } finally {
      await agent.stop();
    }
    await prefixReuse(report);
  },
};

/** Milliseconds a token of the bare loop, in a process set up like the engine's child. */
function bareMs(model: string, threads: number, tokens = TOKENS, runs = 1): number {
  const script = fileURLToPath(new URL("./bare-loop.js", import.meta.url));
  const args = ["--max-semi-space-size=1", "--optimize-for-size", script, model, threads, tokens, runs].map(String);
  const output = execFileSync(process.execPath, args, { env: { ...process.env, UV_THREADPOOL_SIZE: "1" } });
  return median(JSON.parse(output.toString()) as number[]);
}

/** Tokens a second of one answer as the asker sees it: from the question published to the reply received. */
async function tokensPerSecond(agent: Agent): Promise<number> {
  const { reply, totalMs } = await agent.ask(STORY);
  return (reply.usage.completion_tokens / totalMs) * 1000;
}

async function speed(agent: Agent, model: string, report: (row: Row) => void): Promise<void> {
  await tokensPerSecond(agent);
  const ours: number[] = [];
  const ratios: number[] = [];
  const bare: number[] = [];
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const speedOfLoop = 1000 / bareMs(model, 2);
    const speedOfAgent = await settled(agent, () => tokensPerSecond(agent));
    ours.push(speedOfAgent);
    bare.push(speedOfLoop);
    ratios.push(speedOfAgent / speedOfLoop);
  }
  report({
    case: "tokens/s over MQTT",
    measured: median(ours),
    unit: "tok/s",
    baseline: median(bare),
    baseline_name: "bare loop, 2 threads",
  });
  report({ case: "over MQTT / bare loop, median of pairs", measured: median(ratios), unit: "x", target: ">= 0.95" });
  const llamaBench = process.env["LLAMA_BENCH"];
  const name = "llama-bench -t 2";
  if (!llamaBench) {
    report({
      case: "over MQTT / llama-bench",
      measured: NaN,
      unit: "x",
      baseline_name: `${name}: not present (LLAMA_BENCH)`,
    });
    return;
  }
  const args = ["-m", model, "-t", "2", "-p", "0", "-n", String(TOKENS), "-r", "5", "-o", "json"];
  const [result] = JSON.parse(execFileSync(llamaBench, args, { stdio: ["ignore", "pipe", "ignore"] }).toString()) as {
    avg_ts: number;
  }[];
  const theirs = result?.avg_ts ?? NaN;
  const again = await settled(agent, () => tokensPerSecond(agent));
  report({
    case: "over MQTT / llama-bench",
    measured: again / theirs,
    unit: "x",
    target: ">= 0.85",
    baseline: theirs,
    baseline_name: name,
  });
}

/** Waits until the governor has seen that the neighbours of the last measurement are gone, then measures. */
async function settled<Result>(agent: Agent, measure: () => Promise<Result>): Promise<Result> {
  for (let attempt = 0; attempt < 40; attempt += 1) {
    const { reply } = await agent.ask({ text: "Hello", max_tokens: 8 });
    if (!/neighbours|calm for/.test(reply.plan.reason)) break;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return measure();
}

async function overhead(agent: Agent, report: (row: Row) => void): Promise<void> {
  const extra: number[] = [];
  for (let count = 0; count < 60; count += 1) {
    const { reply, totalMs } = await agent.ask({ text: `What is ${count} plus 1?`, max_tokens: 4 });
    extra.push(totalMs - reply.timing_ms.prefill - reply.timing_ms.generate);
  }
  report({ case: "published to received, minus engine, p50", measured: median(extra), unit: "ms", target: "<= 5" });
  report({
    case: "published to received, minus engine, p95",
    measured: quantile(extra, 0.95),
    unit: "ms",
    target: "<= 15",
  });
}

async function besideHog(agent: Agent, model: string, report: (row: Row) => void): Promise<void> {
  const hog = spawn(process.execPath, ["-e", "for (;;);"]);
  try {
    const ours: number[] = [];
    const fixed = new Map<number, number[]>([
      [1, []],
      [2, []],
    ]);
    await agent.ask(STORY);
    for (let pair = 0; pair < 3; pair += 1) {
      for (const [threads, speeds] of fixed) speeds.push(1000 / bareMs(model, threads, threads === 1 ? TOKENS : 24));
      ours.push(await tokensPerSecond(agent));
    }
    const best = [...fixed]
      .map(([threads, speeds]) => ({ threads, speed: median(speeds) }))
      .sort((a, b) => b.speed - a.speed)[0];
    const defaults = 1000 / bareMs(model, 4, 6);
    report({
      case: "1 hog: tokens/s over MQTT",
      measured: median(ours),
      unit: "tok/s",
      baseline: best?.speed ?? NaN,
      baseline_name: `best fixed (${best?.threads} threads)`,
    });
    report({
      case: "1 hog: over MQTT / best fixed",
      measured: median(ours) / (best?.speed ?? NaN),
      unit: "x",
      target: ">= 0.85",
    });
    report({
      case: "1 hog: over MQTT / node-llama-cpp's default",
      measured: median(ours) / defaults,
      unit: "x",
      baseline: defaults,
      baseline_name: "4 threads",
    });
  } finally {
    await ended(hog);
  }
}

async function idle(agent: Agent, report: (row: Row) => void): Promise<void> {
  await settled(agent, () => Promise.resolve());
  const engine = Number(
    execFileSync("pgrep", ["-P", String(agent.process.pid), "-f", "engine/child"])
      .toString()
      .trim(),
  );
  const pids = [agent.process.pid ?? 0, engine];
  const before = pids.map(cpuTicks);
  const windowMs = 20_000;
  await new Promise((resolve) => setTimeout(resolve, windowMs));
  const ticks = pids.map(cpuTicks).reduce((sum, now, index) => sum + now - (before[index] ?? 0), 0);
  report({
    case: "idle: CPU of the whole agent",
    measured: (ticks * 10 * 100) / windowMs,
    unit: "% of a core",
    target: "< 1",
  });
  const [parent = NaN, child = NaN] = pids.map((pid) => statusKib(pid, "VmRSS") / 1024);
  report({ case: "idle: RSS of the parent", measured: parent, unit: "MB", target: "<= 90" });
  report({ case: "idle: RSS of the child, 1024 tokens", measured: child, unit: "MB", target: "<= 300" });
}

/** Five routes with 150 tokens of system text each: their first question reads it, the second one finds it in the cache. */
async function prefixReuse(report: (row: Row) => void): Promise<void> {
  const texts = ["kitchen", "garden", "garage", "office", "cellar"].map(
    (room) =>
      `You look after the ${room}. ${"Be brief, be polite, name the device you mean, never guess a value you were not told. ".repeat(6)}`,
  );
  const routes = texts.map((system, index) => ({
    filter: `bench/${index}`,
    task: "answer",
    system,
    allow_reply_to: ["#"],
  }));
  const agent = await startAgent({ set: { ...CONTEXT, routes: JSON.stringify(routes) } });
  try {
    const ratios: number[] = [];
    const firsts: number[] = [];
    for (const [index] of routes.entries()) {
      const first = await agent.ask({ text: "Is the lamp on?", stream: true, max_tokens: 8 }, `/bench/${index}`);
      const second = await agent.ask({ text: "Who was here?", stream: true, max_tokens: 8 }, `/bench/${index}`);
      firsts.push(first.firstPieceMs ?? NaN);
      ratios.push((second.firstPieceMs ?? NaN) / (first.firstPieceMs ?? NaN));
    }
    report({
      case: "first token: second question / first",
      measured: median(ratios),
      unit: "x",
      target: "<= 0.4",
      baseline: median(firsts),
      baseline_name: "first question, ms",
    });
  } finally {
    await agent.stop();
  }
}

function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

function statusKib(pid: number, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? NaN);
}

async function ended(process: ChildProcess): Promise<void> {
  const exit = new Promise((resolve) => process.once("exit", resolve));
  process.kill("SIGKILL");
  await exit;
}
