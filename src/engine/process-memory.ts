// Memory of this process by kind, from proc: mapped weights are evictable, anonymous memory is not (design.md §1).
import { readFileSync } from "node:fs";
import type { ProcessMemory } from "../core/ports.ts";

/** Reads `proc/self/status`; a kernel without the split (before 4.5) reports everything as anonymous. */
export function ownMemory(): ProcessMemory {
  const status = readFileSync("/proc/self/status", "utf8");
  const bytesOf = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) * 1024;
  const rssBytes = bytesOf("VmRSS");
  const fileBytes = bytesOf("RssFile") + bytesOf("RssShmem");
  return { rssBytes, fileBytes, anonymousBytes: rssBytes - fileBytes };
}
