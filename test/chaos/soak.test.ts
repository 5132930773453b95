// An ordinary day: the whole agent with the real models, a request of some kind every second (in a long run every
// four), a link that is cut now and then. Nothing is lost, nobody dies, and neither process grows.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Figures, leaveFigures, sized } from "../fixtures/figures.ts";
import type { Asker } from "./asker.ts";
import { growthMbPerHour } from "./growth.ts";
import { chaos, delivered, openScene, pause, progress, settled, within } from "./scene.ts";

const MINUTES = Number(process.env["PIPIT_SOAK_MINUTES"] ?? sized(5, 480));
const LONG = MINUTES > 10;
/**
 * Before anything is measured, what is bounded shall be full (the smallest journal remembers some 800 finished questions) and
 * what is compiled on the way compiled: the live heap of the daemon grows by up to 1 MB from the 1,000th to the 5,000th question,
 * nearly all of it code, and by 0.5 MB in the 35,000 after them.
 */
const WARM_UP_QUESTIONS = LONG ? 6_000 : 1_000;
const WARM_UP_TOKENS = 1;
/** A long run is not to keep the machine from other work. */
const EVERY_MS = LONG ? 4_000 : 1_000;
const CUT_EVERY = 60;
/** In five minutes a heap still settles (10 measured for the daemon); this is 16 kB for every request and no settling. */
const LEAK_MB_PER_HOUR = 60;
const MIB = 2 ** 20;

interface Probe {
  ms: number;
  rss: number;
  heapUsed: number;
  external: number;
}

chaos("an ordinary day", () => {
  test("loses nothing and lets nothing grow", { timeout: (MINUTES + 10) * 60_000 }, async () => {
    const probes = mkdtempSync(join(tmpdir(), "pipit-soak-"));
    onTestFinished(() => rmSync(probes, { recursive: true }));
    const { asker, agent, proxy } = await openScene({
      engine: "real",
      env: {
        PIPIT_JOURNAL_MAX_BYTES: String(MIB),
        NODE_OPTIONS: `--import=${resolve("test/chaos/memory-probe.mjs")}`,
        PROBE_DIRECTORY: probes,
      },
    });
    for (let turn = 1; turn <= WARM_UP_QUESTIONS; turn++) {
      await request(asker, turn, WARM_UP_TOKENS);
      if (turn % (10 * CUT_EVERY) === 0) proxy.cut();
      await within(60_000, "an answer while warming up", asker.ledger.whenOutstanding(8));
      progress("warm-up", turn, WARM_UP_QUESTIONS);
    }
    const { pid, modelPid } = agent;
    const fromMs = Date.now();
    const turns = (MINUTES * 60_000) / EVERY_MS;
    for (let turn = 1; turn <= turns; turn++) {
      await Promise.all([request(asker, turn), pause(EVERY_MS)]);
      if (turn % CUT_EVERY === 0) proxy.cut();
      progress("soak", turn, turns, `${asker.ledger.answered} answers`);
    }
    const tally = await settled({ asker }, 60_000);
    const daemon = read(probes, `daemon-${pid}`, fromMs);
    const child = read(probes, `child-${modelPid}`, fromMs);
    leaveFigures(
      "soak",
      "real model",
      {
        minutes: MINUTES,
        ...delivered(tally),
        ...grown("daemon", daemon),
        ...grown("model's process", child),
      },
      Object.fromEntries(["daemon", "model's process"].map((who) => [`${who}: RSS slope, MB/h`, "< 1"])),
    );
    expect(agent.running).toBe(true);
    expect(agent.modelPid).toBe(modelPid);
    expect(tally.lost).toEqual([]);
    expect(tally.doubled).toEqual([]);
    const { ok = 0, bad_request = 0, cancelled = 0 } = tally.byStatus;
    expect(ok + bad_request + cancelled).toBe(tally.asked);
    for (const process of [daemon, child]) expect(growthMbPerHour(live(process))).toBeLessThan(LEAK_MB_PER_HOUR);
  });
});

/** Mostly short questions; in turn also a label, a refusal, the same again, and a change of mind. */
async function request(asker: Asker, turn: number, mostTokens = Infinity): Promise<void> {
  const tokens = (wanted: number) => ({ max_tokens: Math.min(wanted, mostTokens) });
  switch (turn % 10) {
    case 2:
      return asker.classify("It is too dark here.", ["lights", "music"]);
    case 4:
      return asker.ask("");
    case 6:
      return asker.askTwice("Name a colour.", tokens(4));
    case 8:
      return asker.askAndCancel("Tell me a story.", tokens(64));
    default:
      return asker.ask(`Say ${turn}.`, tokens(8));
  }
}

function read(directory: string, process: string, fromMs: number): Probe[] {
  const lines = readFileSync(join(directory, `${process}.jsonl`), "utf8")
    .trimEnd()
    .split("\n");
  const probes = lines.map((line) => JSON.parse(line) as Probe).filter(({ ms }) => ms >= fromMs);
  if (probes.length < 10)
    throw new Error(`${probes.length} probes of ${process}; ${readdirSync(directory).join(", ")}`);
  return probes;
}

function live(probes: readonly Probe[]): { ms: number; bytes: number }[] {
  return probes.map(({ ms, heapUsed, external }) => ({ ms, bytes: heapUsed + external }));
}

function grown(who: string, probes: readonly Probe[]): Figures {
  const rss = probes.map(({ ms, rss: bytes }) => ({ ms, bytes }));
  return {
    [`${who}: RSS at last, MB`]: Number(((rss.at(-1)?.bytes ?? NaN) / 1e6).toFixed(1)),
    [`${who}: RSS slope, MB/h`]: Number(growthMbPerHour(rss).toFixed(2)),
    [`${who}: live heap slope, MB/h`]: Number(growthMbPerHour(live(probes)).toFixed(2)),
  };
}
