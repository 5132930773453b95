import { execFileSync } from "node:child_process";
import { release } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const BUILT = join(import.meta.dirname, "../../../dist/engine/time-slice.js");
/** Asks in a process of its own, makes more threads, and prints the slices that the kernel then shows. */
const SCRIPT = `
  const { readdirSync, readFileSync, promises } = await import("node:fs");
  const { askForLongSlice } = await import(${JSON.stringify(BUILT)});
  const asked = await askForLongSlice();
  const { Worker } = await import("node:worker_threads");
  const worker = new Worker("setInterval(() => {}, 1e6)", { eval: true });
  await new Promise((resolve) => worker.once("online", resolve));
  const slices = readdirSync("/proc/self/task").map(
    (thread) => /se\\.slice\\s*:\\s*(\\d+)/.exec(readFileSync("/proc/self/task/" + thread + "/sched", "utf8"))?.[1],
  );
  console.log(JSON.stringify({ asked, slices }));
  process.exit(0);
`;

test("every thread asks for the longest slice, those made later too, where the kernel knows of it", () => {
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", SCRIPT]).toString();
  const { asked, slices } = JSON.parse(output) as { asked: boolean; slices: (string | null)[] };
  expect(asked).toBe(true);
  expect(slices.length).toBeGreaterThan(5);
  // A kernel before 6.12 takes the wish and ignores it; one without debug information does not show it.
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const shown = new Set(slices.filter((slice) => slice !== null));
  if (major * 100 + minor >= 612 && shown.size > 0) expect(shown).toEqual(new Set(["100000000"]));
});
