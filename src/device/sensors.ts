// The fast readings of the board: some small files of proc and sys, read without waiting. What changes rarely (groups,
// limits of CPU, heat) is read again only every few seconds, which keeps one reading well under 1 ms of CPU.
import { cpus, totalmem } from "node:os";
import type { ChildReading, Pressure, Readings, ReadingsSource, ThrottleBits } from "../core/readings.ts";
import type { Clock } from "../core/ports.ts";
import { findGroups, readCpuQuota, readGroupMemoryLimit, type Groups } from "./cgroup.ts";
import { parseCpuTicks, parseProcessTicks, readAllowedCpus, type CpuTicks } from "./cpu.ts";
import { readFrequencyRatio, readTemperatureC, readThrottleFile, Vcgencmd } from "./heat.ts";
import { field, SensorFiles } from "./sensor-files.ts";

/** Limits and heat move in seconds; a cpuset or quota that shrinks is seen at most this late. */
const SLOW_EVERY_MS = 2000;
/** Clock ticks are 10 ms: a shorter window would measure mostly rounding. */
const SHORTEST_WINDOW_MS = 100;

/** What was counted at the end of the last window. */
interface Counters {
  atMs: number;
  cpu: CpuTicks;
  ownTicks: number;
  childFaults: number;
}

interface SlowReadings {
  atMs: number;
  groups: Groups;
  allowed: Set<number> | undefined;
  quotaCores: number | undefined;
  temperatureC: number | undefined;
  throttle: ThrottleBits | undefined;
  frequencyRatio: number | undefined;
}

interface Window {
  windowMs: number;
  foreignCores: number;
  ownCores: number;
  majorFaultsPerSecond: number;
}

export interface SensorsOptions {
  /** `/` on a board, a directory of fixtures in tests. */
  sensorsRoot: string;
  clock: Clock;
}

export class Sensors implements ReadingsSource {
  readonly #files: SensorFiles;
  readonly #clock: Clock;
  readonly #vcgencmd: Vcgencmd;
  #childPid: number | undefined;
  #before: Counters | undefined;
  #window: Window = { windowMs: 0, foreignCores: 0, ownCores: 0, majorFaultsPerSecond: 0 };
  #slow: SlowReadings | undefined;

  constructor(options: SensorsOptions) {
    this.#files = new SensorFiles(options.sensorsRoot);
    this.#clock = options.clock;
    this.#vcgencmd = new Vcgencmd(this.#files);
  }

  watchChild(pid: number | undefined): void {
    if (pid === this.#childPid) return;
    this.#childPid = pid;
    this.#before = undefined; // the new child's total is no difference to the old one's
  }

  read(): Readings {
    const atMs = this.#clock.nowMs();
    const slow = this.#readSlow(atMs);
    const counters = this.#count(atMs, slow.allowed);
    if (!this.#before) this.#before = counters;
    else if (counters && atMs - this.#before.atMs >= SHORTEST_WINDOW_MS) {
      this.#window = differenceOf(this.#before, counters);
      this.#before = counters;
    }
    const coreCount = counters?.cpu.coreCount ?? cpus().length;
    const affinityCores = counters?.cpu.allowedCount ?? coreCount;
    const meminfo = this.#files.text("proc/meminfo");
    const memoryTotalBytes = kibibytes(meminfo, "MemTotal") ?? totalmem();
    const groupMemory = readGroupMemoryLimit(this.#files, slow.groups, memoryTotalBytes);
    return defined({
      atMs,
      windowMs: this.#window.windowMs,
      coreCount,
      affinityCores,
      allowedCores: Math.min(affinityCores, slow.quotaCores ?? Infinity),
      quotaCores: slow.quotaCores,
      foreignCores: this.#window.foreignCores,
      ownCores: this.#window.ownCores,
      memoryTotalBytes,
      memoryAvailableBytes: availableBytes(meminfo) ?? memoryTotalBytes,
      groupMemory,
      oomKills: field(this.#files.text("proc/vmstat"), "oom_kill") ?? groupMemory?.oomKills,
      child: this.#readChild(),
      pressure: this.#readPressure(slow.groups),
      temperatureC: slow.temperatureC,
      throttle: slow.throttle,
      frequencyRatio: slow.frequencyRatio,
    });
  }

  /** Waits for what `read` left running; after it nothing of this object is alive. */
  async stop(): Promise<void> {
    await this.#vcgencmd.settled();
  }

  #readSlow(atMs: number): SlowReadings {
    if (this.#slow && atMs - this.#slow.atMs < SLOW_EVERY_MS) return this.#slow;
    const groups = findGroups(this.#files);
    const allowed = readAllowedCpus(this.#files);
    const throttleFile = readThrottleFile(this.#files);
    if (!throttleFile) void this.#vcgencmd.refresh();
    // A changed set of CPUs has other totals: the window starts anew.
    if (this.#slow && [...(this.#slow.allowed ?? [])].join() !== [...(allowed ?? [])].join()) this.#before = undefined;
    this.#slow = {
      atMs,
      groups,
      allowed,
      quotaCores: readCpuQuota(this.#files, groups),
      temperatureC: readTemperatureC(this.#files),
      throttle: throttleFile ?? this.#vcgencmd.bits,
      frequencyRatio: readFrequencyRatio(this.#files, allowed ?? []),
    };
    return this.#slow;
  }

  #count(atMs: number, allowed: Set<number> | undefined): Counters | undefined {
    const cpu = parseCpuTicks(this.#files.text("proc/stat") ?? "", allowed);
    const own = parseProcessTicks(this.#files.text("proc/self/stat") ?? "");
    const child = parseProcessTicks(this.#files.text(`proc/${this.#childPid ?? "-"}/stat`) ?? "");
    if (!cpu) return undefined;
    return { atMs, cpu, ownTicks: (own?.cpu ?? 0) + (child?.cpu ?? 0), childFaults: child?.majorFaults ?? 0 };
  }

  #readChild(): ChildReading | undefined {
    const status = this.#childPid === undefined ? undefined : this.#files.text(`proc/${this.#childPid}/status`);
    const rssBytes = kibibytes(status, "VmRSS");
    if (rssBytes === undefined) return undefined;
    const anonymousBytes = kibibytes(status, "RssAnon") ?? 0;
    const fileBytes = (kibibytes(status, "RssFile") ?? 0) + (kibibytes(status, "RssShmem") ?? 0);
    return { rssBytes, anonymousBytes, fileBytes, majorFaultsPerSecond: this.#window.majorFaultsPerSecond };
  }

  /** A group that is short of memory stalls on a board that has plenty: of both, the worse one counts. */
  #readPressure({ memory: group }: Groups): Pressure | undefined {
    const cpu = this.#files.text("proc/pressure/cpu");
    const memory = [this.#files.text("proc/pressure/memory")];
    if (group?.version === 2) memory.push(this.#files.text(`${group.directories[0]}/memory.pressure`));
    if ([cpu, ...memory].every((text) => text === undefined)) return undefined;
    const worst = (line: "some" | "full") => {
      const averages = memory.map((text) => average10(text, line)).filter((average) => average !== undefined);
      return averages.length > 0 ? Math.max(...averages) : undefined;
    };
    return defined({ cpuSome: average10(cpu, "some"), memorySome: worst("some"), memoryFull: worst("full") });
  }
}

function differenceOf(before: Counters, after: Counters): Window {
  const windowMs = after.atMs - before.atMs;
  const total = after.cpu.total - before.cpu.total;
  const cores = after.cpu.allowedCount;
  // Shares of the ticks that passed on the allowed CPUs, so that a late reading does not look like load.
  const used = (ticks: number) => (total > 0 ? Math.min(1, Math.max(0, ticks / total)) * cores : 0);
  const own = after.ownTicks - before.ownTicks;
  const busy = after.cpu.busy - before.cpu.busy;
  return {
    windowMs,
    foreignCores: used(busy - own),
    ownCores: used(own),
    majorFaultsPerSecond: (Math.max(0, after.childFaults - before.childFaults) * 1000) / windowMs,
  };
}

function kibibytes(text: string | undefined, key: string): number | undefined {
  const value = field(text, key);
  return value === undefined ? undefined : value * 1024;
}

/** MemAvailable; kernels before 3.14 lack it, there free memory and page cache come near. */
function availableBytes(meminfo: string | undefined): number | undefined {
  const available = kibibytes(meminfo, "MemAvailable");
  if (available !== undefined) return available;
  const free = kibibytes(meminfo, "MemFree");
  return free === undefined ? undefined : free + (kibibytes(meminfo, "Cached") ?? 0);
}

function average10(text: string | undefined, line: "some" | "full"): number | undefined {
  const match = new RegExp(`^${line} avg10=([\\d.]+)`, "m").exec(text ?? "");
  return match?.[1] === undefined ? undefined : Number(match[1]);
}

/** Without the keys whose value is undefined: a trace shall not be full of nulls. */
function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined } | T): T {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as T;
}
