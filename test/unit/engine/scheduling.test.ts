import { execFileSync } from "node:child_process";
import { release } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { mayLeaveIdle } from "../../../src/engine/scheduling.ts";

const BUILT = join(import.meta.dirname, "../../../dist/engine/scheduling.js");
const SCHED_NORMAL = 0;
const SCHED_IDLE = 5;

interface Thread {
  /** The one that JavaScript runs on. */
  first: boolean;
  policy: number;
  /** Null where the kernel does not show it. */
  sliceNs: string | null;
}

interface Seen {
  mayLeaveIdle: boolean;
  opened: boolean;
  before: Thread[];
  usual: Thread[];
  yielding: Thread[];
  again: Thread[];
}

/** In a process of its own, whose second thread makes more threads on the way; prints what the kernel then shows. */
const SCRIPT = `
  const { readdirSync, readFileSync } = await import("node:fs");
  const { Scheduling, mayLeaveIdle } = await import(${JSON.stringify(BUILT)});
  const { Worker } = await import("node:worker_threads");
  const maker = new Worker(\`
    const { parentPort, Worker } = require("node:worker_threads");
    parentPort.on("message", () =>
      new Worker("setInterval(() => {}, 1e6)", { eval: true }).once("online", () => parentPort.postMessage("made")));
  \`, { eval: true, execArgv: [] });
  const makeThread = () => new Promise((resolve) => { maker.once("message", resolve); maker.postMessage("make"); });
  const threads = () =>
    readdirSync("/proc/self/task").map((thread) => {
      // proc(5): field 41 of stat, counted behind the name in brackets.
      const stat = readFileSync("/proc/self/task/" + thread + "/stat", "utf8").split(") ")[1].split(" ");
      const sched = readFileSync("/proc/self/task/" + thread + "/sched", "utf8");
      return {
        first: Number(thread) === process.pid,
        policy: Number(stat[38]),
        sliceNs: /se\\.slice\\s*:\\s*(\\d+)/.exec(sched)?.[1] ?? null,
      };
    });
  await makeThread();
  const seen = { mayLeaveIdle: mayLeaveIdle(0), before: threads() };
  const scheduling = await Scheduling.open();
  await makeThread();
  Object.assign(seen, { opened: scheduling !== undefined, usual: threads() });
  scheduling?.setYielding(true);
  await makeThread();
  seen.yielding = threads();
  scheduling?.setYielding(false);
  seen.again = threads();
  console.log(JSON.stringify(seen));
  process.exit(0);
`;
const seen = JSON.parse(execFileSync(process.execPath, ["--input-type=module", "-e", SCRIPT]).toString()) as Seen;

describe("the threads of the model's process", () => {
  it("ask for a slice a little longer than usual, those made later too, where the kernel knows of it", () => {
    expect(seen.opened).toBe(true);
    expect(seen.usual.length).toBeGreaterThan(seen.before.length);
    const [major = 0, minor = 0] = release().split(".").map(Number);
    const usualNs = seen.before[0]?.sliceNs;
    // A kernel before 6.12 knows nothing of it; one without debug information does not show it.
    if (major * 100 + minor < 612 || (usualNs ?? null) === null) return;
    expect(new Set(seen.usual.map(({ sliceNs }) => sliceNs))).toEqual(new Set([String(Number(usualNs) + 100_000)]));
  });

  it("yield to whoever wakes up, those made later too, all but the one that can end it", () => {
    const yields = seen.mayLeaveIdle ? SCHED_IDLE : SCHED_NORMAL;
    expect(seen.yielding.length).toBeGreaterThan(seen.usual.length);
    for (const { first, policy } of seen.yielding) expect(policy).toBe(first ? SCHED_NORMAL : yields);
  });

  it("take their share again", () => {
    expect(seen.again).toHaveLength(seen.yielding.length);
    for (const thread of seen.again) expect(thread).toEqual({ ...seen.usual[0], first: thread.first });
  });
});

describe("whether a thread may leave SCHED_IDLE again", () => {
  const proc = (limit: number, capabilities: string, uidMap: string) => (path: string) =>
    ({
      "/proc/self/limits": `Max nice priority         ${limit}                    ${limit}                    \n`,
      "/proc/self/status": `Name:\tnode\nCapEff:\t${capabilities}\n`,
      "/proc/self/uid_map": uidMap,
    })[path] ?? "";
  const FIRST = "         0          0 4294967295\n";

  it.each([
    ["an ordinary user may not", 0, 0, "0000000000000000", FIRST, false],
    ["root may", 0, 0, "000001ffffffffff", FIRST, true],
    ["root of a container with users of its own may not", 0, 0, "000001ffffffffff", "0 100000 65536\n", false],
    ["whose limit allows the nice level may", 15, 5, "0000000000000000", FIRST, true],
    ["whose limit allows less may not", 15, 4, "0000000000000000", FIRST, false],
  ])("%s", (_, limit, nice, capabilities, uidMap, may) => {
    expect(mayLeaveIdle(nice, proc(limit, capabilities, uidMap))).toBe(may);
  });
});
