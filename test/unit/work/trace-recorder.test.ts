import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Logger } from "../../../src/core/ports.ts";
import { parseTrace, type TraceEntry } from "../../../src/core/trace.ts";
import { TraceRecorder } from "../../../src/work/trace-recorder.ts";

let directory: string;
let warnings: string[];
const log: Logger = {
  debug() {},
  info() {},
  warn: (_, text) => void warnings.push(text),
  error() {},
  child: () => log,
};
const entry: TraceEntry = { curve: { prefill: { 1: 1 }, decode: { 1: 1 } } };

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pipit-trace-"));
  warnings = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

it("appends to what is there, and every line reads back", async () => {
  const path = join(directory, "trace.jsonl");
  for (let life = 0; life < 2; life++) {
    const recorder = new TraceRecorder(path, log);
    for (let i = 0; i < 500; i++) recorder.record(entry);
    await recorder.stop();
  }
  expect(parseTrace(readFileSync(path, "utf8"))).toHaveLength(1000);
});

it("keeps two files of bounded size", async () => {
  const path = join(directory, "trace.jsonl");
  const recorder = new TraceRecorder(path, log, 40_000);
  for (let i = 0; i < 5000; i++) recorder.record(entry);
  await recorder.stop();
  for (const file of [path, `${path}.1`]) {
    const text = readFileSync(file, "utf8");
    expect(text.length).toBeLessThanOrEqual(40_000);
    expect(parseTrace(text).length).toBeGreaterThan(0);
  }
});

it("ends with one warning where the disk refuses", async () => {
  const recorder = new TraceRecorder(join(directory, "missing", "trace.jsonl"), log);
  for (let i = 0; i < 2000; i++) recorder.record(entry);
  await recorder.stop();
  expect(warnings).toEqual(["the trace cannot be written; recording ends"]);
});
