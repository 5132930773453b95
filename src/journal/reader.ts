// Reads a journal directory without changing it: every record that checks, in order, and everything that does not, in
// words. Never throws for what it finds in the files. Safe beside a running daemon: a segment that disappears meanwhile
// was no longer needed, and a half-written record at the end is a torn tail.
import { toError } from "../core/errors.ts";
import type { Disk } from "./disk.ts";
import { decodeRecord } from "./record.ts";
import type { JournalRecord } from "./record.ts";
import { FORMAT_VERSION, decodeHeader, readSegment, segmentNumber } from "./segment.ts";
import type { SegmentHeader } from "./segment.ts";

export interface RecordPlace {
  segment: number;
  sequence: number;
  offset: number;
}

export interface SegmentReport {
  number: number;
  name: string;
  fileBytes: number;
  /** Header and records; the rest is zeros or a torn tail. */
  usedBytes: number;
  firstSequence?: number;
  nextSequence?: number;
  records: number;
  tornBytes: number;
  /** What was lost or could not be read, one sentence each; empty when all is well. */
  damage: string[];
}

export interface JournalReading {
  segments: SegmentReport[];
  /** The highest format version found that this program does not know. */
  newerVersion?: number;
}

interface OpenedSegment {
  report: SegmentReport;
  bytes: Uint8Array;
  header?: SegmentHeader;
}

export async function readJournal(
  disk: Disk,
  directory: string,
  onRecord: (record: JournalRecord, place: RecordPlace) => void,
): Promise<JournalReading> {
  const names = (await disk.list(directory)).filter((name) => segmentNumber(name) !== undefined);
  names.sort((a, b) => (segmentNumber(a) ?? 0) - (segmentNumber(b) ?? 0));
  const reading: JournalReading = { segments: [] };
  // A segment ends where the next readable one begins to count, so each is read one step late.
  let pending: OpenedSegment | undefined;
  for (const name of names) {
    const opened = await openSegment(disk, directory, name);
    if (opened === undefined) continue;
    reading.segments.push(opened.report);
    const version = opened.header?.version ?? 0;
    if (version > FORMAT_VERSION) reading.newerVersion = Math.max(version, reading.newerVersion ?? 0);
    if (opened.header === undefined || version !== FORMAT_VERSION) continue;
    if (pending !== undefined) scan(pending, opened.header.firstSequence, onRecord);
    pending = opened;
  }
  if (pending !== undefined) scan(pending, undefined, onRecord);
  return reading;
}

async function openSegment(disk: Disk, directory: string, name: string): Promise<OpenedSegment | undefined> {
  const number = segmentNumber(name) ?? 0;
  const report: SegmentReport = { number, name, fileBytes: 0, usedBytes: 0, records: 0, tornBytes: 0, damage: [] };
  let bytes: Uint8Array;
  try {
    bytes = await disk.read(directory, name);
  } catch (thrown) {
    const error = toError(thrown) as NodeJS.ErrnoException;
    if (error.code === "ENOENT") return undefined;
    report.damage.push(`cannot be read: ${error.message}`);
    return { report, bytes: new Uint8Array() };
  }
  report.fileBytes = bytes.length;
  const header = decodeHeader(bytes);
  if (header?.number === number) {
    report.firstSequence = header.firstSequence;
    return { report, bytes, header };
  }
  // A segment of zeros was begun when the power went: no record in it was ever synced.
  if (header !== undefined) report.damage.push(`its header says it is segment ${header.number}`);
  else if (bytes.some((byte) => byte !== 0)) report.damage.push("its header is unreadable");
  return { report, bytes };
}

function scan(
  { report, bytes, header }: OpenedSegment,
  endSequence: number | undefined,
  onRecord: (record: JournalRecord, place: RecordPlace) => void,
): void {
  if (header === undefined) return;
  const contents = readSegment(bytes, header, endSequence);
  report.usedBytes = contents.endOffset;
  report.nextSequence = contents.nextSequence;
  report.tornBytes = contents.tornBytes;
  for (const { offset, bytes: skipped, missingRecords } of contents.damage) {
    report.damage.push(`${missingRecords} records missing at byte ${offset}, where ${skipped} bytes do not check`);
  }
  for (const frame of contents.frames) {
    const record = decodeRecord(frame);
    if (record === undefined) {
      report.damage.push(`record ${frame.sequence} at byte ${frame.offset} checks but holds no record of version 1`);
      continue;
    }
    report.records += 1;
    onRecord(record, { segment: header.number, sequence: frame.sequence, offset: frame.offset });
  }
}
