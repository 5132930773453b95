// CPU time of the board and of ourselves, from proc/stat and proc/<pid>/stat. Times are clock ticks as the kernel counts
// them; only differences and ratios to the total are used, so the length of a tick does not matter.
import type { SensorFiles } from "./sensor-files.ts";

/** `0-2,5` as a set of numbers; undefined when the text is not a list. */
export function parseCpuList(text: string): Set<number> | undefined {
  const cpus = new Set<number>();
  for (const part of text.trim().split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (!match) return undefined;
    const first = Number(match[1]);
    for (let cpu = first; cpu <= Number(match[2] ?? first); cpu++) cpus.add(cpu);
  }
  return cpus;
}

/** CPUs this process may run on by affinity and cpuset; undefined where the kernel does not say. */
export function readAllowedCpus(files: SensorFiles): Set<number> | undefined {
  const line = /^Cpus_allowed_list:\s*(\S+)/m.exec(files.text("proc/self/status") ?? "");
  return line?.[1] === undefined ? undefined : parseCpuList(line[1]);
}

export interface CpuTicks {
  /** CPUs that are online. */
  coreCount: number;
  /** Online CPUs among the allowed ones, never 0. */
  allowedCount: number;
  /** Ticks of all kinds on the allowed CPUs. */
  total: number;
  /** Ticks on the allowed CPUs in which they did something, stolen time included. */
  busy: number;
}

/** Sums the lines `cpuN user nice system idle iowait irq softirq steal guest guest_nice`; guest is within user. */
export function parseCpuTicks(stat: string, allowed: Set<number> | undefined): CpuTicks | undefined {
  let coreCount = 0;
  const mine = { count: 0, total: 0, busy: 0 };
  const all = { count: 0, total: 0, busy: 0 };
  for (const match of stat.matchAll(/^cpu(\d+) (.*)$/gm)) {
    const ticks = (match[2] ?? "").split(" ").slice(0, 8).map(Number);
    const total = ticks.reduce((sum, value) => sum + value, 0);
    const busy = total - (ticks[3] ?? 0) - (ticks[4] ?? 0);
    coreCount++;
    for (const sum of allowed?.has(Number(match[1])) ? [mine, all] : [all]) {
      sum.count++;
      sum.total += total;
      sum.busy += busy;
    }
  }
  if (coreCount === 0) return undefined;
  const sum = mine.count > 0 ? mine : all;
  return { coreCount, allowedCount: sum.count, total: sum.total, busy: sum.busy };
}

export interface ProcessTicks {
  /** User and system time of all threads, also of those that have ended. */
  cpu: number;
  majorFaults: number;
}

/** proc/<pid>/stat; the second field is the command in brackets and may hold spaces and brackets itself. */
export function parseProcessTicks(stat: string): ProcessTicks | undefined {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const majorFaults = Number(fields[9]);
  const cpu = Number(fields[11]) + Number(fields[12]);
  return Number.isFinite(cpu) && Number.isFinite(majorFaults) ? { cpu, majorFaults } : undefined;
}
