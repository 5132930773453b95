// The whole agent in a memory group that is hardly large enough, with a process that grows by 100 MB beside it: nobody is
// killed, no question is lost, and whatever is degraded says so.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { type Agent, type AgentReply, startAgent } from "../fixtures/agent.ts";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import type { Row } from "./bench.ts";

const MIB = 1024 * 1024;
const LIMITS_MIB = [512, 384];
/** `PIPIT_BENCH_MINUTES` shortens a try. */
const MINUTES = Number(process.env["PIPIT_BENCH_MINUTES"] ?? 5);
const LOST_AFTER_MS = 60_000;
const GROWTH =
  "const grown = []; for (let i = 0; i < 100; i += 1) grown.push(Buffer.alloc(1024 * 1024, 1)); setInterval(() => grown.length, 1e6);";
const TEXTS = ["Which day comes after Monday?", "Tell a short story about a bird.", "What is the capital of France?"];

interface Tally {
  sent: number;
  replies: AgentReply[];
  lost: number;
}

export async function groupRows(report: (row: Row) => void): Promise<void> {
  const why = whyNoGroups();
  for (const limitMib of LIMITS_MIB) {
    const name = `memory group of ${limitMib} MiB`;
    if (why !== undefined) {
      report({ case: name, measured: NaN, unit: "", baseline_name: `not measured: ${why}` });
      continue;
    }
    // What this process starts lies in the group too; what it holds already stays charged where it was.
    await underLimit({ kind: "memory", bytes: limitMib * MIB }, [process.pid], () => oneLimit(name, report));
  }
}

async function oneLimit(name: string, report: (row: Row) => void): Promise<void> {
  const agent = await startAgent({ set: { "model.sequences": 1 } });
  try {
    const tally: Tally = { sent: 0, replies: [], lost: 0 };
    const third = (MINUTES * 60_000) / 3;
    await askFor(agent, third, tally);
    const calm = tally.replies[tally.replies.length - 1];
    const neighbour = spawn(process.execPath, ["-e", GROWTH], { stdio: "ignore" });
    await askFor(agent, third, tally);
    const gone = new Promise((resolve) => neighbour.once("exit", resolve));
    neighbour.kill("SIGKILL");
    await gone;
    await askFor(agent, third, tally);
    const ok = tally.replies.filter(({ status }) => status === "ok");
    const silent = ok.filter(({ plan }) => plan.context_tokens < (calm?.plan.context_tokens ?? 0) && !plan.reason);
    const unexplained = tally.replies.filter(({ status, error }) => status === "error" && !error?.message);
    const state = await agent.state();
    const alive = agent.process.exitCode === null && agent.process.signalCode === null;
    report({ case: `${name}: kills of the daemon`, measured: alive ? 0 : 1, unit: "", target: "<= 0" });
    report({
      case: `${name}: questions lost`,
      measured: tally.lost,
      unit: "",
      target: "<= 0",
      note: `${tally.sent} asked, ${ok.length} answered, ${tally.replies.length - ok.length} refused with a reason`,
    });
    report({
      case: `${name}: degraded replies without a word`,
      measured: silent.length + unexplained.length,
      unit: "",
      target: "<= 0",
    });
    report({ case: `${name}: deaths of the engine`, measured: Number(state["engine_deaths"] ?? 0), unit: "" });
  } finally {
    await agent.stop();
  }
}

/** Questions one after the other, for so long. */
async function askFor(agent: Agent, ms: number, tally: Tally): Promise<void> {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs && agent.process.exitCode === null) {
    const text = TEXTS[tally.sent % TEXTS.length] ?? "";
    tally.sent += 1;
    const session = `session-${tally.sent % 3}`;
    const late = sleep(LOST_AFTER_MS, undefined, { ref: false });
    const answered = await Promise.race([agent.ask({ text, session, max_tokens: 48 }), late]);
    if (answered) tally.replies.push(answered.reply);
    else tally.lost += 1;
  }
}
