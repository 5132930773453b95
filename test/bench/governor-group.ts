// The whole agent in a memory group that is hardly large enough: questions, conversations and classifications for five
// minutes, and in the second third a neighbour in the same group that grows by 100 MB. Nobody is killed, no question is lost,
// whatever is degraded says so, and afterwards everything is as before.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Agent, type AgentReply, startAgent } from "../fixtures/agent.ts";
import { launcherInto, underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { median, type Row } from "./bench.ts";
import { modelPath } from "./governor-rig.ts";

const MIB = 1024 * 1024;
/** `PIPIT_BENCH_MINUTES` shortens a try. */
const MINUTES = Number(process.env["PIPIT_BENCH_MINUTES"] ?? 5);
const LOST_AFTER_MS = 60_000;
/** Grows by 100 MB at 5 MB a second when told to. */
const NEIGHBOUR = `
  const grown = [];
  process.stdin.once("data", () => {
    const timer = setInterval(() => {
      grown.push(Buffer.alloc(1024 * 1024, 1));
      if (grown.length === 100) clearInterval(timer);
    }, 200);
  });
`;
const TEXTS = ["Which day comes after Monday?", "Tell a short story about a bird.", "What is the capital of France?"];
const LABELS = ["lights", "music", "weather"];

type Phase = "calm" | "pressed" | "released";
interface Asked {
  phase: Phase;
  atMs: number;
  totalMs: number;
  /** Undefined: lost. */
  reply: AgentReply | undefined;
  session?: string;
}

type Report = (row: Row) => void;

export const group512Rows = (report: Report) => rowsUnder(512, report);
export const group384Rows = (report: Report) => rowsUnder(384, report);

/** One memory limit; the agent, its models' page cache and the neighbour are all charged to the group. */
async function rowsUnder(limitMib: number, report: Report): Promise<void> {
  const name = `memory group of ${limitMib} MiB`;
  const why = whyNoGroups();
  if (why !== undefined) return report({ case: name, measured: NaN, unit: "", baseline_name: `not measured: ${why}` });
  await underLimit({ kind: "memory", bytes: limitMib * MIB }, [], (group) => oneLimit(name, group, report));
}

async function oneLimit(name: string, group: string, report: Report): Promise<void> {
  const models = mkdtempSync(join(tmpdir(), "pipit-group-"));
  const launcher = launcherInto(group);
  let agent: Agent | undefined;
  let neighbour: ChildProcess | undefined;
  try {
    await copied(launcher, dirname(modelPath()), models);
    neighbour = start(launcher, process.execPath, "-e", NEIGHBOUR);
    agent = await startAgent({ group, env: { PIPIT_MODELS_DIR: models } });
    const events: string[] = [];
    agent.client.on("message", (topic, payload) => topic.endsWith("/event") && events.push(payload.toString()));
    await agent.client.subscribeAsync("pipit/test/event");
    const asked: Asked[] = [];
    const phase = (which: Phase) => askFor(agent as Agent, which, asked, (MINUTES * 60_000) / 3);
    await phase("calm");
    neighbour.stdin?.write("grow\n");
    await phase("pressed");
    const releasedMs = performance.now();
    neighbour.kill("SIGKILL");
    await phase("released");
    const alive = agent.process.exitCode === null && agent.process.signalCode === null;
    const state = await agent.state();
    rowsOf(name, asked, releasedMs, (row) => report(row));
    report({ case: `${name}: kills of the daemon`, measured: alive ? 0 : 1, unit: "", target: "<= 0" });
    const deaths = Number(state["engine_deaths"] ?? 0);
    const note = `${kills(group)} kills by the kernel in the group; ${changesOf(events)}`;
    report({ case: `${name}: deaths of the engine`, measured: deaths, unit: "", note });
  } finally {
    neighbour?.kill("SIGKILL");
    await agent?.stop();
    rmSync(models, { recursive: true, force: true });
  }
}

function rowsOf(name: string, asked: readonly Asked[], releasedMs: number, report: Report): void {
  const replies = asked.flatMap(({ reply }) => reply ?? []);
  const ok = replies.filter(({ status }) => status === "ok");
  const codes = replies.flatMap(({ error }) => error?.code ?? []);
  const refused = [...new Set(codes)].map((code) => `${codes.filter((one) => one === code).length} ${code}`).join(", ");
  report({
    case: `${name}: questions lost`,
    measured: asked.length - replies.length,
    unit: "",
    target: "<= 0",
    note: `${asked.length} asked, ${ok.length} answered, refused with a reason: ${refused || "none"}; ${paces(asked)}`,
  });
  const full = largest(asked.filter(({ phase }) => phase === "calm"));
  const silent = ok.filter(
    ({ plan }) => full && size(plan) < size(full.plan) && !plan.reason.includes(plan.model_reason),
  );
  const unexplained = replies.filter(({ status, error }) => status === "error" && !error?.message);
  report({
    case: `${name}: degraded replies without a word`,
    measured: silent.length + unexplained.length,
    unit: "",
    target: "<= 0",
    note: `${ok.filter(({ plan }) => full && size(plan) < size(full.plan)).length} degraded answers`,
  });
  const { answers, wrong } = conversations(asked);
  report({
    case: `${name}: conversations that lost a turn without a word`,
    measured: wrong,
    unit: "",
    target: "<= 0",
    note: `${answers} answers in conversations`,
  });
  const last = ok.at(-1);
  const back = asked.find(
    ({ phase, reply }) => phase === "released" && reply?.status === "ok" && full && size(reply.plan) >= size(full.plan),
  );
  report({
    case: `${name}: plan after release / before`,
    measured: last && full ? size(last.plan) / size(full.plan) : NaN,
    unit: "x",
    target: ">= 1",
    note: back ? `back after ${((back.atMs - releasedMs) / 1000).toFixed(0)} s` : "not back in time",
  });
}

/** The largest plan that answered: in the first minute the agent may still be finding its size. */
function largest(asked: readonly Asked[]): AgentReply | undefined {
  const ok = asked.flatMap(({ reply }) => (reply?.status === "ok" ? reply : []));
  return ok.reduce<AgentReply | undefined>(
    (best, one) => (best && size(best.plan) >= size(one.plan) ? best : one),
    undefined,
  );
}

/** Tokens that the model holds for all questions together. */
function size({ context_tokens, sequences }: AgentReply["plan"]): number {
  return context_tokens * sequences;
}

/** Turns read and forgotten must add up to what was answered before in the same conversation. */
function conversations(asked: readonly Asked[]): { answers: number; wrong: number } {
  const before = new Map<string, number>();
  let answers = 0;
  let wrong = 0;
  for (const { session, reply } of asked) {
    if (session === undefined || reply?.status !== "ok") continue;
    const known = before.get(session) ?? 0;
    answers += 1;
    if (reply.session === undefined || reply.session.turns + reply.session.forgotten !== known) wrong += 1;
    before.set(session, known + 1);
  }
  return { answers, wrong };
}

function paces(asked: readonly Asked[]): string {
  const phases: Phase[] = ["calm", "pressed", "released"];
  const paceOf = (phase: Phase) =>
    median(asked.filter((one) => one.phase === phase && one.reply?.status === "ok").map(({ totalMs }) => totalMs));
  return `median ${phases.map((phase) => `${paceOf(phase).toFixed(0)} ms ${phase}`).join(", ")}`;
}

/** One asker of questions and classifications, one in conversations, each as soon as its last reply is there. */
async function askFor(agent: Agent, phase: Phase, asked: Asked[], ms: number): Promise<void> {
  const untilMs = performance.now() + ms;
  const asker = async (next: (index: number) => { body: object; word?: string; session?: string }) => {
    for (let index = 0; performance.now() < untilMs && agent.process.exitCode === null; index += 1) {
      const { body, word, session } = next(index);
      const atMs = performance.now();
      const late = sleep(LOST_AFTER_MS, undefined, { ref: false });
      const answered = await Promise.race([agent.ask(body, word, session), late]);
      asked.push({
        phase,
        atMs,
        totalMs: performance.now() - atMs,
        reply: answered?.reply,
        ...(session && { session }),
      });
      if (answered?.reply.status !== "ok") await sleep(500);
    }
  };
  await Promise.all([
    asker((index) => {
      const text = TEXTS[index % TEXTS.length] ?? "";
      // Another text each time: the same one would come from the cache.
      const classified = { body: { text: `${index} ${phase}: it is dark`, labels: LABELS }, word: "classify" };
      return index % 4 === 3 ? classified : { body: { text, max_tokens: 48 } };
    }),
    asker((index) => {
      const session = `conversation-${index % 3}`;
      return { body: { text: TEXTS[index % TEXTS.length], session, max_tokens: 48 }, session };
    }),
  ]);
}

function changesOf(events: readonly string[]): string {
  const all = events.map((text) => JSON.parse(text) as { event: string; model?: string; reason?: string });
  const changes = all.filter(({ event }) => event.startsWith("model_"));
  return (
    changes.map(({ event, model, reason }) => `${event} ${model ?? ""} (${reason ?? ""})`).join("; ") || "no changes"
  );
}

function kills(group: string): number {
  for (const file of ["memory.oom_control", "memory.events"]) {
    try {
      return Number(/^oom_kill (\d+)/m.exec(readFileSync(join(group, file), "utf8"))?.[1] ?? 0);
    } catch {
      // The other version's name.
    }
  }
  return NaN;
}

function start([first = "", ...rest]: readonly string[], ...command: string[]): ChildProcess {
  return spawn(first, [...rest, ...command], { stdio: ["pipe", "ignore", "inherit"] });
}

async function copied(launcher: readonly string[], from: string, to: string): Promise<void> {
  await once(start(launcher, "cp", "-rT", from, to), "exit");
}
