// The kernel's text files below a configurable root, so that a tree of fixture files reads like a board.
// A file that is missing or unreadable is `undefined`, never an error: no reading may be required.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

export class SensorFiles {
  readonly root: string;
  // proc and sys files report no size; one buffer for all spares an allocation a read (measured: 9 instead of 25 µs).
  #buffer = Buffer.allocUnsafe(64 * 1024);

  constructor(root: string) {
    this.root = root;
  }

  path(relative: string): string {
    return join(this.root, relative);
  }

  /** The whole file as text; files longer than the buffer (proc/stat of a large server) are read the slow way. */
  text(relative: string): string | undefined {
    let fd: number;
    try {
      fd = openSync(this.path(relative), "r");
    } catch {
      return undefined;
    }
    try {
      const length = readSync(fd, this.#buffer, 0, this.#buffer.length, 0);
      if (length === this.#buffer.length) return readFileSync(this.path(relative), "utf8");
      return this.#buffer.toString("utf8", 0, length);
    } catch {
      return undefined; // some sysfs files open but refuse the read (EINVAL, EAGAIN)
    } finally {
      closeSync(fd);
    }
  }

  /** The file as one integer or decimal; `max` and anything else that is not a number is undefined. */
  number(relative: string): number | undefined {
    const text = this.text(relative)?.trim();
    if (!text) return undefined;
    const value = Number(text);
    return Number.isFinite(value) ? value : undefined;
  }

  /** Names in a directory, sorted; empty when there is none. */
  names(relative: string): string[] {
    try {
      return readdirSync(this.path(relative)).sort();
    } catch {
      return [];
    }
  }
}

/** The number after `key` in a file of `key value` lines (meminfo, memory.stat, status); undefined when absent. */
export function field(text: string | undefined, key: string): number | undefined {
  if (text === undefined) return undefined;
  for (let at = text.indexOf(key); at >= 0; at = text.indexOf(key, at + 1)) {
    if (at > 0 && text[at - 1] !== "\n") continue;
    // `oom_kill_disable` is not `oom_kill`.
    const match = /^[:\s]\s*(-?\d+)/.exec(text.slice(at + key.length, at + key.length + 40));
    if (match) return Number(match[1]);
  }
  return undefined;
}
