// The journal's segments on disk, written at one end and dropped at the other.
// - A segment's name is synced before the first record goes in, and its header with that record: what is synced can be
//   found again.
// - Within a segment nothing is ever overwritten, and nothing is appended after a failed write or sync: after a failed
//   fdatasync the kernel may have dropped the pages, so the segment is abandoned and the next one takes over its numbers
//   from the last synced record on.
// - Files grow by steps of zeros written along with the records: an fdatasync inside a step has no new size to store
//   (ext4, virtual disk, 600 bytes: 0.08 ms and 5.4 KiB to the device against 0.11 ms and 8.8 KiB).
import type { Disk, DiskFile } from "./disk.ts";
import { FORMAT_VERSION, HEADER_BYTES, encodeFrame, encodeHeader, segmentName } from "./segment.ts";
import type { Frame } from "./segment.ts";

export interface LogCounters {
  records: number;
  writes: number;
  bytes: number;
  dataSyncs: number;
  directorySyncs: number;
}

export interface StoredSegment {
  number: number;
  bytes: number;
  /** Something in it could not be read: kept aside when dropped, for whoever wants to look. */
  damaged: boolean;
}

export interface SegmentLogOptions {
  disk: Disk;
  directory: string;
  /** A random number, 32 bits. */
  salt: () => number;
}

/** A file grows by so many zeros at a time. */
const GROW_BYTES = 16 * 1024;
/** Damaged segments kept aside; the oldest goes first. */
const KEPT_DAMAGED = 2;
const DAMAGED_NAME = /^damaged-\d+\.log$/;

export class SegmentLog {
  readonly counters: LogCounters = { records: 0, writes: 0, bytes: 0, dataSyncs: 0, directorySyncs: 0 };
  readonly #options: SegmentLogOptions;
  /** All segments, oldest first; the active one is the last. */
  #segments: StoredSegment[] = [];
  #nextNumber = 1;
  /** Of the next record; and the one from which on records are not known to be synced. */
  #sequence = 1;
  #unsyncedSequence = 1;
  #active: { file: DiskFile; segment: StoredSegment; salt: number; offset: number } | undefined;

  constructor(options: SegmentLogOptions) {
    this.#options = options;
  }

  /** Begins behind what is on disk. */
  resume(segments: StoredSegment[], nextSequence: number): void {
    this.#segments = segments;
    this.#nextNumber = (segments.at(-1)?.number ?? 0) + 1;
    this.#sequence = nextSequence;
    this.#unsyncedSequence = nextSequence;
  }

  get activeNumber(): number | undefined {
    return this.#active?.segment.number;
  }

  /** Bytes of header and records in the active segment. */
  get activeBytes(): number {
    return this.#active?.offset ?? 0;
  }

  get sealed(): readonly StoredSegment[] {
    return this.#active === undefined ? this.#segments : this.#segments.slice(0, -1);
  }

  get segments(): number {
    return this.#segments.length;
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
  }

  get unsynced(): boolean {
    return this.#sequence > this.#unsyncedSequence;
  }

  /** Syncs and closes the active segment and begins the next, whose name is safe when this resolves. */
  async open(): Promise<void> {
    await this.seal();
    const { disk, directory, salt: random } = this.#options;
    const segment = { number: this.#nextNumber, bytes: 0, damaged: false };
    const salt = random();
    const name = segmentName(segment.number);
    const file = await disk.create(directory, name);
    // Counted at once: whatever happens below, the name is taken.
    this.#nextNumber += 1;
    try {
      const header = encodeHeader({
        version: FORMAT_VERSION,
        number: segment.number,
        firstSequence: this.#sequence,
        salt,
      });
      await this.#write(file, segment, header, 0);
      await this.#syncDirectory();
    } catch (error) {
      await file.close().catch(() => undefined);
      await disk.unlink(directory, name).catch(() => undefined);
      throw error;
    }
    this.#segments.push(segment);
    this.#active = { file, segment, salt, offset: HEADER_BYTES };
  }

  /** One write, not synced. */
  async append(frames: readonly Frame[]): Promise<void> {
    const active = this.#active;
    if (active === undefined) throw new Error("no segment is open");
    const encoded = frames.map((frame, index) => encodeFrame(frame, this.#sequence + index, active.salt));
    const bytes = Buffer.concat(encoded);
    await this.#write(active.file, active.segment, bytes, active.offset);
    active.offset += bytes.length;
    this.#sequence += frames.length;
    this.counters.records += frames.length;
  }

  async sync(): Promise<void> {
    if (this.#active === undefined) return;
    const sequence = this.#sequence;
    this.counters.dataSyncs += 1;
    await this.#active.file.datasync();
    this.#unsyncedSequence = sequence;
  }

  /** Syncs what is not, and closes the active segment for good. */
  async seal(): Promise<void> {
    if (this.#active === undefined) return;
    if (this.unsynced) await this.sync();
    const { file } = this.#active;
    this.#active = undefined;
    await file.close();
  }

  /** After a failure: the active segment ends at its last synced record, whatever else is in it. */
  async abandon(): Promise<void> {
    const file = this.#active?.file;
    this.#active = undefined;
    this.#sequence = this.#unsyncedSequence;
    await file?.close().catch(() => undefined);
  }

  /** Removes the oldest segment. Its removal is synced before the next, so that no gap ever opens between two. */
  async dropOldest(): Promise<void> {
    const { disk, directory } = this.#options;
    const oldest = this.#segments[0];
    if (oldest === undefined) return;
    const name = segmentName(oldest.number);
    if (oldest.damaged) await this.#setAside(name, oldest.number);
    else await disk.unlink(directory, name);
    this.#segments.shift();
    await this.#syncDirectory();
  }

  async #setAside(name: string, number: number): Promise<void> {
    const { disk, directory } = this.#options;
    await disk.rename(directory, name, segmentName(number).replace("journal-", "damaged-"));
    const kept = (await disk.list(directory)).filter((other) => DAMAGED_NAME.test(other)).sort();
    for (const other of kept.slice(0, -KEPT_DAMAGED)) await disk.unlink(directory, other);
  }

  async #write(file: DiskFile, segment: StoredSegment, bytes: Uint8Array, offset: number): Promise<void> {
    const end = offset + bytes.length;
    const grown = end > segment.bytes ? Math.ceil(end / GROW_BYTES) * GROW_BYTES : segment.bytes;
    const written = grown > segment.bytes ? Buffer.concat([bytes], grown - offset) : bytes;
    this.counters.writes += 1;
    this.counters.bytes += written.length;
    await file.write(written, offset);
    segment.bytes = grown;
  }

  async #syncDirectory(): Promise<void> {
    this.counters.directorySyncs += 1;
    await this.#options.disk.syncDirectory(this.#options.directory);
  }
}
