// What the journal costs: time until a question is safe, questions a second, and what each one writes. On the disk of
// PIPIT_BENCH_DIR (default: the system's temporary directory): put it on the card that matters.
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AcceptedQuestion, Clock, Logger } from "../../src/core/ports.ts";
import { FileJournal } from "../../src/journal/file-journal.ts";
import type { FileJournalOptions } from "../../src/journal/file-journal.ts";
import { type Bench, quantile, type Row } from "./bench.ts";

const QUESTIONS = 2_000;
const PROBES = 500;
/** A question and a reply of the size of the contract's example (design.md §2). */
const QUESTION = new TextEncoder().encode(
  JSON.stringify({ text: "What is the capital of France?", session: "kitchen" }),
);
const REPLY = new Uint8Array(420).fill(0x2e);

const clock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};
const silent = (): void => undefined;
const logger: Logger = { debug: silent, info: silent, warn: silent, error: silent, child: () => logger };

export const bench: Bench = {
  name: "journal",
  summary: `${QUESTIONS} questions accepted, begun, answered and settled, one and eight at a time`,
  async run(report) {
    const syncMs = await bareSync();
    for (const durability of ["full", "relaxed"] as const) {
      for (const inFlight of [1, 8]) await measure(durability, inFlight, syncMs, report);
    }
  },
};

async function inDirectory<T>(run: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(process.env["PIPIT_BENCH_DIR"] ?? tmpdir(), "pipit-journal-bench-"));
  try {
    return await run(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** What this process has sent to block devices so far; pages that a file system keeps in memory count too. */
async function bytesToDevice(): Promise<number> {
  return Number(/write_bytes: (\d+)/.exec(await readFile("/proc/self/io", "utf8"))?.[1]);
}

/** One write of 600 bytes and its fdatasync, appended: what a journal without any thought would cost. */
function bareSync(): Promise<number> {
  return inDirectory(async (directory) => {
    const file = await open(join(directory, "probe"), "w");
    const bytes = new Uint8Array(600).fill(7);
    const times: number[] = [];
    for (let index = 0; index < PROBES; index++) {
      const startMs = performance.now();
      await file.write(bytes, 0, bytes.length, index * bytes.length);
      await file.datasync();
      times.push(performance.now() - startMs);
    }
    await file.close();
    return quantile(times, 0.5);
  });
}

function measure(
  durability: FileJournalOptions["durability"],
  inFlight: number,
  syncMs: number,
  report: (row: Row) => void,
): Promise<void> {
  return inDirectory(async (directory) => {
    const journal = new FileJournal({ directory, durability, maxBytes: 16 * 1024 ** 2, clock, logger });
    await journal.start();
    const acceptMs: number[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let index = next++; index < QUESTIONS; index = next++)
        acceptMs.push(await oneQuestion(journal, `q-${index}`));
    };
    const deviceBytes = await bytesToDevice();
    const startMs = performance.now();
    await Promise.all(Array.from({ length: inFlight }, worker));
    const seconds = (performance.now() - startMs) / 1000;
    await journal.stop();
    const { written } = journal.stats;
    const label = `${durability}, ${inFlight} in flight`;
    const baseline = { baseline: syncMs, baseline_name: "append + fdatasync" };
    const note = `p95 ${quantile(acceptMs, 0.95).toFixed(2)} ms`;
    report({
      case: `${label}: accept until safe, p50`,
      measured: quantile(acceptMs, 0.5),
      unit: "ms",
      ...baseline,
      note,
    });
    report({ case: `${label}: questions`, measured: QUESTIONS / seconds, unit: "1/s" });
    const syncs = (written.dataSyncs + written.directorySyncs) / QUESTIONS;
    report({ case: `${label}: syncs a question`, measured: syncs, unit: "", target: "<= 3" });
    report({ case: `${label}: bytes a question`, measured: written.bytes / QUESTIONS, unit: "B" });
    const pages = ((await bytesToDevice()) - deviceBytes) / QUESTIONS;
    const io = "write_bytes of /proc/self/io: whole pages";
    report({ case: `${label}: bytes to the device`, measured: pages, unit: "B", target: "<= 16384", note: io });
  });
}

/** Milliseconds until the question was safe; the whole of its life passes through the journal. */
async function oneQuestion(journal: FileJournal, key: string): Promise<number> {
  const wallMs = Date.now();
  const question: AcceptedQuestion = {
    key,
    topic: "pipit/kitchen-pi/ask",
    payload: QUESTION,
    responseTopic: "home/answers/kitchen",
    correlationData: new TextEncoder().encode(key),
    acceptedWallMs: wallMs,
    deadlineWallMs: wallMs + 60_000,
  };
  const startMs = performance.now();
  await journal.accept(question);
  const acceptedMs = performance.now() - startMs;
  journal.begin(key);
  await journal.answer(key, { topic: "home/answers/kitchen", payload: REPLY, text: true });
  journal.settle(key);
  return acceptedMs;
}
