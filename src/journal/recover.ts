// From the files of a directory to the book: reads and replays every segment, says what was lost, and makes sure that
// what was read is on the device before anybody relies on it (after a kill it may only have been in the kernel's memory).
import { PipitError, toError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Book } from "./book.ts";
import { directoryFault } from "./directory-fault.ts";
import type { Disk } from "./disk.ts";
import { readJournal } from "./reader.ts";
import type { JournalReading } from "./reader.ts";
import { replay } from "./replay.ts";
import type { StoredSegment } from "./segment-log.ts";
import { FORMAT_VERSION, segmentName } from "./segment.ts";

export interface RecoverOptions {
  disk: Disk;
  directory: string;
  clock: Clock;
  logger: Logger;
  book: Book;
}

export interface Found {
  segments: StoredSegment[];
  nextSequence: number;
  /** The last segment, when it could not be synced: what it holds must be written again. */
  unsyncedSegment?: number;
}

export async function recover({ disk, directory, clock, logger, book }: RecoverOptions): Promise<Found> {
  const reading = await read(disk, directory, (record, { segment }) => replay(book, record, segment, clock));
  if (reading.newerVersion !== undefined) {
    const message =
      `journal: ${directory} was written by a later version of pipit (format ${reading.newerVersion}, this one knows ` +
      `${FORMAT_VERSION}); it was left as it is: run that version, or give this one its own state directory`;
    throw new PipitError("config", "journal_newer", message);
  }
  for (const { name, damage, tornBytes } of reading.segments) {
    for (const fault of damage) logger.warn({ segment: name }, `journal: damage in ${name}: ${fault}`);
    if (tornBytes > 0) logger.info({ segment: name, tornBytes }, "journal: cut a torn write off the end");
  }
  book.restored(clock.nowMs());
  const found: Found = { segments: [], nextSequence: 1 };
  for (const { number, fileBytes, damage, firstSequence = 1, nextSequence = 1 } of reading.segments) {
    found.segments.push({ number, bytes: fileBytes, damaged: damage.length > 0 });
    found.nextSequence = Math.max(found.nextSequence, firstSequence, nextSequence);
  }
  const last = found.segments.at(-1)?.number;
  if (last === undefined) return found;
  try {
    await disk.sync(directory, segmentName(last));
  } catch (thrown) {
    logger.warn({ segment: last }, `journal: cannot sync the last segment: ${toError(thrown).message}`);
    found.unsyncedSegment = last;
  }
  return found;
}

async function read(
  disk: Disk,
  directory: string,
  onRecord: Parameters<typeof readJournal>[2],
): Promise<JournalReading> {
  try {
    return await readJournal(disk, directory, onRecord);
  } catch (thrown) {
    throw directoryFault("read", directory, thrown);
  }
}
