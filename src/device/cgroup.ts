// Control groups of both versions: the CPU quota and the memory limit that bind this process. A limit of any ancestor
// binds too, so the tightest one on the way up to the root wins.
import type { GroupMemory } from "../core/readings.ts";
import { field, type SensorFiles } from "./sensor-files.ts";

/** A directory of one hierarchy, relative to the sensors' root, and its ancestors up to the mount point, nearest first. */
interface Hierarchy {
  version: 1 | 2;
  directories: string[];
}

export interface Groups {
  cpu?: Hierarchy;
  memory?: Hierarchy;
}

interface Mount {
  version: 1 | 2;
  /** The part of the hierarchy that is visible at the mount point; not `/` in containers without a cgroup namespace. */
  root: string;
  point: string;
  options: string[];
}

// "31 23 0:28 /docker/ab /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu"
function parseMounts(mountinfo: string): Mount[] {
  return mountinfo.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [type, , options = ""] = after.split(" ");
    const [, , , root, point] = before.split(" ");
    if ((type !== "cgroup" && type !== "cgroup2") || root === undefined || point === undefined) return [];
    return [{ version: type === "cgroup2" ? 2 : 1, root, point, options: options.split(",") }];
  });
}

function climb(mount: Mount, path: string): string[] {
  const inside = mount.root !== "/" && path.startsWith(mount.root) ? path.slice(mount.root.length) : path;
  // A path with `..` lies outside our namespace: only what is mounted can be read.
  const parts = inside.includes("..") ? [] : inside.split("/").filter((part) => part !== "");
  const directories: string[] = [];
  for (let depth = parts.length; depth >= 0; depth--) {
    directories.push([mount.point.replace(/^\/+/, ""), ...parts.slice(0, depth)].join("/"));
  }
  return directories;
}

/** Finds the groups of this process for the controllers we read. A hybrid set-up has v1 controllers beside an empty v2. */
export function findGroups(files: SensorFiles): Groups {
  const mounts = parseMounts(files.text("proc/self/mountinfo") ?? "");
  const groups: Groups = {};
  for (const line of (files.text("proc/self/cgroup") ?? "").split("\n")) {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (!match) continue;
    const [, names = "", path = "/"] = match;
    const wanted =
      names === ""
        ? (["cpu", "memory"] as const)
        : (["cpu", "memory"] as const).filter((name) => names.split(",").includes(name));
    for (const name of wanted) {
      const version = names === "" ? 2 : 1;
      const mount = mounts.find((one) => one.version === version && (version === 2 || one.options.includes(name)));
      // Version 1 goes before 2: a controller lives in one of them, and a v1 line names it.
      if (mount && !(version === 2 && groups[name])) groups[name] = { version, directories: climb(mount, path) };
    }
  }
  return groups;
}

/** The least CPU quota in cores, or undefined when no group sets one. */
export function readCpuQuota(files: SensorFiles, groups: Groups): number | undefined {
  let least: number | undefined;
  for (const directory of groups.cpu?.directories ?? []) {
    const [quota, period] =
      groups.cpu?.version === 2
        ? (files.text(`${directory}/cpu.max`) ?? "max").trim().split(" ").map(Number)
        : [files.number(`${directory}/cpu.cfs_quota_us`), files.number(`${directory}/cpu.cfs_period_us`)];
    if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) continue;
    least = Math.min(least ?? Infinity, quota / period);
  }
  return least;
}

/** One group's limit, or undefined when it has none that matters on this board. */
function readGroupMemory(
  files: SensorFiles,
  directory: string,
  version: 1 | 2,
  totalBytes: number,
): GroupMemory | undefined {
  // Above memory.high the kernel throttles and reclaims: for planning that is the limit too.
  const limits = (version === 2 ? ["memory.max", "memory.high"] : ["memory.limit_in_bytes"])
    .map((name) => files.number(`${directory}/${name}`))
    .filter((limit) => limit !== undefined);
  const limitBytes = Math.min(...limits);
  const usedBytes = files.number(`${directory}/${version === 2 ? "memory.current" : "memory.usage_in_bytes"}`);
  // "No limit" is `max` in version 2 and a number near 2^63 in version 1.
  if (usedBytes === undefined || limitBytes >= totalBytes) return undefined;
  const stat = files.text(`${directory}/memory.stat`);
  const prefix = version === 2 ? "" : "total_";
  const bytes = (key: string) => field(stat, key) ?? 0;
  const cache = bytes(`${prefix}inactive_file`) + bytes(`${prefix}active_file`);
  const mapped = version === 2 ? bytes("file_mapped") : bytes("total_mapped_file");
  const reclaimable = Math.max(0, cache - mapped) + (version === 2 ? bytes("slab_reclaimable") : 0);
  const events = files.text(`${directory}/${version === 2 ? "memory.events" : "memory.oom_control"}`);
  const oomKills = field(events, "oom_kill");
  return {
    limitBytes,
    headroomBytes: Math.max(0, limitBytes - usedBytes + reclaimable),
    mappedBytes: mapped,
    ...(oomKills === undefined ? {} : { oomKills }),
  };
}

/** The limit with the least headroom of all ancestors; undefined when memory is not limited. */
export function readGroupMemoryLimit(files: SensorFiles, groups: Groups, totalBytes: number): GroupMemory | undefined {
  let tightest: GroupMemory | undefined;
  for (const directory of groups.memory?.directories ?? []) {
    const group = readGroupMemory(files, directory, groups.memory?.version ?? 2, totalBytes);
    if (group && (!tightest || group.headroomBytes < tightest.headroomBytes)) tightest = group;
  }
  return tightest;
}
