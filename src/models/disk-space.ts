// Room on the disk of the models directory, asked for before it is needed.
import { statfs } from "node:fs/promises";
import { PipitError } from "../core/errors.ts";

// Left free beside what is asked for: journal and logs of the agent share the disk.
const SPARE_BYTES = 64 * 1024 * 1024;

/** @throws PipitError `disk_full` (kind `transient`) with what is free and what `purpose` needs. */
export async function needSpace(directory: string, bytes: number, purpose: string): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  const needed = bytes + SPARE_BYTES;
  if (free >= needed) return;
  const mebibytes = (count: number) => `${Math.ceil(count / 1024 ** 2)} MiB`;
  const message = `${directory} has ${mebibytes(free)} free; ${purpose} needs ${mebibytes(needed)}`;
  throw new PipitError("transient", "disk_full", message);
}
