// One daemon a journal directory. Node has no flock; an abstract Unix socket named after the directory's device and inode
// is as good: the kernel gives the name to one process and takes it back when that process ends, however it ends. The pid
// file beside it only tells people who holds it. Processes in different network namespaces do not see each other's names.
import { readFile, stat, unlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import { join } from "node:path";
import { PipitError } from "../core/errors.ts";

export const PID_FILE = "journal.pid";

/** Resolves to the function that releases; rejects with `journal_locked` while another process holds the directory. */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  const { dev, ino } = await stat(directory);
  const server = await bind(`\0pipit-journal-${dev}-${ino}`, directory);
  const pidFile = join(directory, PID_FILE);
  // Not worth a failure: a full or read-only disk must not keep the daemon from answering what it finds here.
  await writeFile(pidFile, `${process.pid}\n`, { mode: 0o600 }).catch(() => undefined);
  return async () => {
    await unlink(pidFile).catch(() => undefined);
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
}

/** The process that wrote the pid file last; whether it lives is for the socket to say. */
export async function lockHolder(directory: string): Promise<number | undefined> {
  const pid = Number.parseInt(await readFile(join(directory, PID_FILE), "utf8").catch(() => ""), 10);
  return Number.isNaN(pid) ? undefined : pid;
}

async function bind(name: string, directory: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(name, resolve);
    });
    return server;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") throw cause;
    const holder = await lockHolder(directory);
    const who = holder === undefined ? "another process" : `process ${holder}`;
    const message = `journal: ${directory} is in use by ${who}; stop it or give this daemon its own state directory`;
    throw new PipitError("config", "journal_locked", message, { cause });
  }
}
