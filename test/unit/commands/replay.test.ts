import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CommandContext } from "../../../src/commands/command.ts";
import { command } from "../../../src/commands/replay.ts";
import { traceLine } from "../../../src/core/trace.ts";
import { readingsOf } from "../../fakes/board.ts";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "pipit-replay-"));
  path = join(directory, "trace.jsonl");
  const lines = Array.from({ length: 40 }, (_, index) => {
    const readings = readingsOf({ affinityCores: 2, atMs: index * 250, foreignCores: index < 20 ? 0 : 1 });
    return traceLine({
      readings,
      courtesy: "normal",
      feedback: [],
      threads: { prefill: 2, decode: 2 },
      cause: "calm",
      reason: "",
    });
  });
  writeFileSync(path, lines.join("\n"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function run(positionals: string[], json = false): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const context: CommandContext = {
    values: {},
    positionals,
    stdout: (text) => void (out += text),
    stderr: (text) => void (err += text),
    json,
    signal: new AbortController().signal,
    onHangup: () => {},
    env: {},
    isTty: false,
  };
  return { code: await command.run(context), out, err };
}

it("draws the threads over time and tells every change with its reason", async () => {
  const { code, out } = await run([path]);
  expect(code).toBe(0);
  expect(out).toContain("    5.0 s  1 thread: neighbours use 1.0 of 2 cores");
  expect(out).toMatch(/to write {3}│█+▄+│/);
  expect(out).toContain("40 readings, 1 changes, at most 1 in a minute; 20 decided otherwise than recorded");
});

it("prints one JSON document with the plan over time", async () => {
  const { out } = await run([path], true);
  const json = JSON.parse(out) as { changes: number; plan: { at_ms: number; threads: { decode: number } }[] };
  expect(json.changes).toBe(1);
  expect(json.plan).toHaveLength(40);
  expect(json.plan[39]).toMatchObject({ at_ms: 9750, threads: { decode: 1 } });
});

it("asks for its file, and names a file that is no trace", async () => {
  expect(await run([])).toMatchObject({ code: 64 });
  writeFileSync(path, "hello");
  await expect(run([path])).rejects.toMatchObject({ kind: "config", message: "line 1 is no line of a trace" });
  await expect(run([join(directory, "none")])).rejects.toMatchObject({ kind: "config" });
});
