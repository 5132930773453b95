// The few things the journal asks of a file system, so that tests can record them, fail them and cut the power between
// any two. Promises of the real one: `datasync` and `syncDirectory` return when the device has confirmed.
import { mkdir, open, readdir, readFile, rename, statfs, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { lockDirectory } from "./lock.ts";

export interface DiskFile {
  /** Writes all of it at `offset`, growing the file if need be. */
  write(bytes: Uint8Array, offset: number): Promise<void>;
  /** Everything written so far, and the size, survives a power cut. */
  datasync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /** Makes the directory and its parents, readable by the owner only. */
  makeDirectory(directory: string): Promise<void>;
  /** Keeps every other process out until released, or until this process ends; `journal_locked` when one is in. */
  lock(directory: string): Promise<() => Promise<void>>;
  /** What may still be written where the directory lies. */
  freeBytes(directory: string): Promise<number>;
  list(directory: string): Promise<string[]>;
  read(directory: string, name: string): Promise<Uint8Array>;
  /** A new file; fails if it exists. */
  create(directory: string, name: string): Promise<DiskFile>;
  /** What other processes have written to the file survives a power cut. */
  sync(directory: string, name: string): Promise<void>;
  rename(directory: string, from: string, to: string): Promise<void>;
  unlink(directory: string, name: string): Promise<void>;
  /** Names made, changed and removed so far survive a power cut. */
  syncDirectory(directory: string): Promise<void>;
}

const PAGE_BYTES = 4096;

class NodeFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /**
   * Page by page: a kernel with large folios keeps what comes in one write as one block of up to 64 KiB and more, and from
   * then on counts all of it as written for every byte that changes in it (Linux 6.18: 66 KiB a sync against 5 KiB).
   */
  async write(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const toPageEnd = PAGE_BYTES - ((offset + done) % PAGE_BYTES);
      const length = Math.min(toPageEnd, bytes.length - done);
      // A nearly full disk takes a part first and says ENOSPC only to the next write.
      const { bytesWritten } = await this.#handle.write(bytes, done, length, offset + done);
      done += bytesWritten;
    }
  }

  datasync(): Promise<void> {
    return this.#handle.datasync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export const nodeDisk: Disk = {
  async makeDirectory(directory) {
    const first = await mkdir(directory, { recursive: true, mode: 0o700 });
    if (first !== undefined) await syncPath(dirname(first));
  },

  lock: lockDirectory,

  async freeBytes(directory) {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  },

  list: (directory) => readdir(directory),

  read: (directory, name) => readFile(join(directory, name)),

  create: async (directory, name) => new NodeFile(await open(join(directory, name), "wx", 0o600)),

  rename: (directory, from, to) => rename(join(directory, from), join(directory, to)),

  unlink: (directory, name) => unlink(join(directory, name)),

  sync: (directory, name) => syncPath(join(directory, name)),

  syncDirectory: syncPath,
};
