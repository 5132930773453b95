// The bytes of one segment file: a header, then records one after the other, then zeros up to the end of the file.
// Reading never throws: what does not check is skipped up to the next record that does, and is counted.
//
//   header  64 bytes, the same 32 twice, so that one flipped bit does not cost a segment:
//           magic 8 | version u32 | number u32 | first sequence number u48 | 0 u16 | salt u32 | crc32c u32
//   record  length u32 | crc32c u32 | sequence number u48 | type u8 | 0 u8 | body (length bytes)
//
// Numbers are big-endian. Magic, version and checksum of the header keep their places in every later version. A record's
// checksum starts from the segment's random salt: what an earlier file left on the disk, or a sender wrote into a
// payload, is never taken for a record. Sequence numbers run on from segment to segment; a segment ends where the
// next one begins to count, whatever a failed write has left behind that.
import { crc32c } from "./crc32c.ts";

export const FORMAT_VERSION = 1;
export const HEADER_BYTES = 64;
export const FRAME_BYTES = 16;
/** Longer than any question or reply; keeps a damaged length from being believed. */
export const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** How far a sequence number may lie ahead in the last segment, where no next segment bounds it. */
const SEQUENCE_WINDOW = 1_000_000;
const COPY_BYTES = HEADER_BYTES / 2;
const MAGIC = new TextEncoder().encode("PIPITJL\n");

export interface SegmentHeader {
  version: number;
  number: number;
  firstSequence: number;
  salt: number;
}

export interface Frame {
  type: number;
  body: Uint8Array;
}

export interface ReadFrame extends Frame {
  sequence: number;
  offset: number;
}

export interface SegmentContents {
  frames: ReadFrame[];
  /** Stretches that do not check but have good records behind them, and records whose numbers are missing. */
  damage: { offset: number; bytes: number; missingRecords: number }[];
  /** Where the next record would stand. */
  endOffset: number;
  nextSequence: number;
  /** Bytes behind the last good record that are not zero: a write that was cut short. */
  tornBytes: number;
}

export function segmentName(number: number): string {
  return `journal-${String(number).padStart(8, "0")}.log`;
}

/** The number in a segment's file name, or undefined for any other file. */
export function segmentNumber(name: string): number | undefined {
  const digits = /^journal-(\d{8,10})\.log$/.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function encodeHeader(header: SegmentHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.set(MAGIC, 0);
  bytes.writeUInt32BE(header.version, 8);
  bytes.writeUInt32BE(header.number, 12);
  bytes.writeUIntBE(header.firstSequence, 16, 6);
  bytes.writeUInt32BE(header.salt, 24);
  bytes.writeUInt32BE(crc32c(bytes, 0, 28), 28);
  bytes.copy(bytes, COPY_BYTES, 0, COPY_BYTES);
  return bytes;
}

/** The header, from whichever of its copies checks; undefined when neither does. */
export function decodeHeader(segment: Uint8Array): SegmentHeader | undefined {
  for (const start of [0, COPY_BYTES]) {
    if (segment.length < start + COPY_BYTES) return undefined;
    const copy = Buffer.from(segment.buffer, segment.byteOffset + start, COPY_BYTES);
    if (!MAGIC.every((byte, index) => copy[index] === byte) || crc32c(copy, 0, 28) !== copy.readUInt32BE(28)) continue;
    return {
      version: copy.readUInt32BE(8),
      number: copy.readUInt32BE(12),
      firstSequence: copy.readUIntBE(16, 6),
      salt: copy.readUInt32BE(24),
    };
  }
  return undefined;
}

export function encodeFrame(frame: Frame, sequence: number, salt: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(FRAME_BYTES + frame.body.length);
  bytes.writeUInt32BE(frame.body.length, 0);
  bytes.writeUIntBE(sequence, 8, 6);
  bytes.writeUInt8(frame.type, 14);
  bytes.writeUInt8(0, 15);
  bytes.set(frame.body, FRAME_BYTES);
  bytes.writeUInt32BE(frameChecksum(bytes, 0, frame.body.length, salt), 4);
  return bytes;
}

/** Reads a whole segment; sequence numbers from `endSequence` on belong to the next segment and are ignored here. */
export function readSegment(bytes: Uint8Array, header: SegmentHeader, endSequence?: number): SegmentContents {
  const segment = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const contents: SegmentContents = {
    frames: [],
    damage: [],
    endOffset: HEADER_BYTES,
    nextSequence: header.firstSequence,
    tornBytes: 0,
  };
  for (;;) {
    const { endOffset, nextSequence } = contents;
    const bound = endSequence ?? nextSequence + SEQUENCE_WINDOW;
    const frame = nextFrame(segment, endOffset, nextSequence, bound, header.salt);
    if (frame === undefined) break;
    const bytesSkipped = frame.offset - endOffset;
    const missingRecords = frame.sequence - nextSequence;
    if (bytesSkipped > 0 || missingRecords > 0) {
      contents.damage.push({ offset: endOffset, bytes: bytesSkipped, missingRecords });
    }
    contents.frames.push(frame);
    contents.endOffset = frame.offset + FRAME_BYTES + frame.body.length;
    contents.nextSequence = frame.sequence + 1;
  }
  contents.tornBytes = lengthWithoutZeros(segment, contents.endOffset);
  if (endSequence !== undefined && contents.nextSequence < endSequence) {
    const missingRecords = endSequence - contents.nextSequence;
    contents.damage.push({ offset: contents.endOffset, bytes: contents.tornBytes, missingRecords });
  }
  return contents;
}

/** The first record that checks at `from` or behind it. */
function nextFrame(segment: Buffer, from: number, lowest: number, bound: number, salt: number): ReadFrame | undefined {
  for (let offset = from; offset + FRAME_BYTES < segment.length; offset++) {
    const length = segment.readUInt32BE(offset);
    if (length === 0 || length > MAX_BODY_BYTES || offset + FRAME_BYTES + length > segment.length) continue;
    const sequence = segment.readUIntBE(offset + 8, 6);
    if (sequence < lowest || sequence >= bound) continue;
    if (segment.readUInt32BE(offset + 4) !== frameChecksum(segment, offset, length, salt)) continue;
    const body = segment.subarray(offset + FRAME_BYTES, offset + FRAME_BYTES + length);
    return { type: segment.readUInt8(offset + 14), body, sequence, offset };
  }
  return undefined;
}

/** Over everything but the checksum itself, beginning with the salt. */
function frameChecksum(bytes: Uint8Array, offset: number, bodyLength: number, salt: number): number {
  return crc32c(bytes, offset + 8, offset + FRAME_BYTES + bodyLength, crc32c(bytes, offset, offset + 4, salt));
}

function lengthWithoutZeros(bytes: Uint8Array, start: number): number {
  let end = bytes.length;
  while (end > start && bytes[end - 1] === 0) end -= 1;
  return end - start;
}
