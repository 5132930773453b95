// SHA-256 of a file, and the stamp by which an unchanged file is known again without reading it.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";

const CHUNK_BYTES = 1024 * 1024;

/** What must all be equal for a file to count as unchanged. Change time is in it, because nobody can set it back. */
export interface FileStamp {
  size_bytes: number;
  mtime_ns: string;
  ctime_ns: string;
  inode: string;
}

export async function stampOf(path: string): Promise<FileStamp> {
  const found = await stat(path, { bigint: true });
  return {
    size_bytes: Number(found.size),
    mtime_ns: String(found.mtimeNs),
    ctime_ns: String(found.ctimeNs),
    inode: String(found.ino),
  };
}

export function sameStamp(a: FileStamp, b: FileStamp): boolean {
  return a.size_bytes === b.size_bytes && a.mtime_ns === b.mtime_ns && a.ctime_ns === b.ctime_ns && a.inode === b.inode;
}

/** Lower-case hex. `onBytes` gets the running total. */
export async function hashFile(path: string, signal?: AbortSignal, onBytes?: (done: number) => void): Promise<string> {
  const hash = createHash("sha256");
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES, signal })) {
    hash.update(chunk as Buffer);
    done += (chunk as Buffer).length;
    onBytes?.(done);
  }
  return hash.digest("hex");
}
