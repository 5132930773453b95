// A control group of our own for a benchmark, of either version, with this process and the engine's child in it; removed
// afterwards, the processes put back where they were.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = "/sys/fs/cgroup";

export type Limit = { kind: "cpuset"; cpus: string } | { kind: "quota"; cores: number };

/** What keeps limits from being set here, or undefined. */
export function whyNoGroups(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (!existsSync(join(ROOT, "cpu/cpu.cfs_quota_us")) && !existsSync(join(ROOT, "cgroup.controllers"))) {
    return "no control groups";
  }
  return undefined;
}

/** Runs `use` under the limit. */
export async function underLimit<Result>(limit: Limit, pids: number[], use: () => Promise<Result>): Promise<Result> {
  const versionTwo = existsSync(join(ROOT, "cgroup.controllers"));
  const parent = versionTwo ? ROOT : join(ROOT, limit.kind === "cpuset" ? "cpuset" : "cpu");
  const home = join(parent, groupOf(limit.kind === "cpuset" ? "cpuset" : "cpu", versionTwo));
  const group = join(parent, `pipit-bench-${process.pid}`);
  mkdirSync(group);
  try {
    for (const [name, value] of settings(limit, versionTwo, parent)) writeFileSync(join(group, name), value);
    for (const pid of pids) writeFileSync(join(group, "cgroup.procs"), String(pid));
    return await use();
  } finally {
    for (const pid of pids) writeFileSync(join(home, "cgroup.procs"), String(pid));
    rmdirSync(group);
  }
}

function groupOf(controller: string, versionTwo: boolean): string {
  const lines = readFileSync("/proc/self/cgroup", "utf8").split("\n");
  const line = lines.find((one) =>
    versionTwo ? one.startsWith("0::") : one.split(":")[1]?.split(",").includes(controller),
  );
  return line?.split(":")[2] ?? "/";
}

function settings(limit: Limit, versionTwo: boolean, parent: string): [name: string, value: string][] {
  if (limit.kind === "quota") {
    const quota = String(Math.round(limit.cores * 100_000));
    return versionTwo
      ? [["cpu.max", `${quota} 100000`]]
      : [
          ["cpu.cfs_period_us", "100000"],
          ["cpu.cfs_quota_us", quota],
        ];
  }
  if (versionTwo) return [["cpuset.cpus", limit.cpus]];
  return [
    ["cpuset.mems", readFileSync(join(parent, "cpuset.mems"), "utf8").trim()],
    ["cpuset.cpus", limit.cpus],
  ];
}
