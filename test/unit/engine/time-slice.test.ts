import { execFileSync } from "node:child_process";
import { release } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const BUILT = join(import.meta.dirname, "../../../dist/engine/time-slice.js");
/** Asks in a process of its own, makes more threads, and prints the slices that the kernel then shows. */
const SCRIPT = `
  const { readdirSync, readFileSync, promises } = await import("node:fs");
  const { askForLongerSlice } = await import(${JSON.stringify(BUILT)});
  const slices = () =>
    readdirSync("/proc/self/task").map(
      (thread) => /se\\.slice\\s*:\\s*(\\d+)/.exec(readFileSync("/proc/self/task/" + thread + "/sched", "utf8"))?.[1],
    );
  const before = slices();
  const asked = await askForLongerSlice();
  const { Worker } = await import("node:worker_threads");
  const worker = new Worker("setInterval(() => {}, 1e6)", { eval: true });
  await new Promise((resolve) => worker.once("online", resolve));
  console.log(JSON.stringify({ asked, before, after: slices() }));
  process.exit(0);
`;

test("every thread asks for a slice a little longer than usual, those made later too, where the kernel knows of it", () => {
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", SCRIPT]).toString();
  const { asked, before, after } = JSON.parse(output) as { asked: boolean; before: string[]; after: string[] };
  // A kernel before 6.12 knows nothing of it; one without debug information does not show it.
  const [major = 0, minor = 0] = release().split(".").map(Number);
  if (major * 100 + minor < 612) return expect(asked).toBe(false);
  expect(asked).toBe(true);
  expect(after.length).toBeGreaterThan(before.length);
  const usual = before.find((slice) => slice !== null);
  if (usual !== undefined) expect(new Set(after)).toEqual(new Set([String(Number(usual) + 100_000)]));
});
