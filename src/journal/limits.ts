// How one bound, the bytes the directory may take, is divided: half for questions and replies that are not settled, an
// eighth for one segment, the rest for settled ones and for what is no longer needed until its segment goes.
import { PipitError } from "../core/errors.ts";
import { DEFAULT_RETENTION } from "./book.ts";
import type { Retention } from "./book.ts";

export interface JournalLimits {
  /** What the directory may take. */
  boundBytes: number;
  /** A segment this full is followed by the next. */
  segmentBytes: number;
  /** More segments than this, or more bytes, and the oldest is carried over. */
  segments: number;
  carryAboveBytes: number;
  /** Bytes of questions and replies that are not settled. */
  unfinishedBytes: number;
  retention: Retention;
}

export const MIN_JOURNAL_BYTES = 128 * 1024;
export const DEFAULT_JOURNAL_BYTES = 16 * 1024 * 1024;
/** The pid file of the lock lies in the same directory; a file takes a block. */
const LOCK_BYTES = 4096;
/** A settled question takes about this much on disk once its reply is dropped. */
const FINISHED_RECORD_BYTES = 160;

/**
 * What of `maxBytes` the directory may take where it and what is free beside it are `roomBytes`: others write to that disk
 * too, so half of it; but as much as what is not settled needs, which would otherwise be carried over again and again.
 */
export function boundOn(maxBytes: number, roomBytes: number, unfinishedBytes: number): number {
  return Math.min(maxBytes, Math.max(MIN_JOURNAL_BYTES, Math.floor(roomBytes / 2), 2 * unfinishedBytes));
}

export function journalLimits(maxBytes: number, retention: Partial<Retention> = {}): JournalLimits {
  if (!(maxBytes >= MIN_JOURNAL_BYTES)) {
    const message = `journal: max_bytes is ${maxBytes}, at least ${MIN_JOURNAL_BYTES} needed`;
    throw new PipitError("config", "journal_max_bytes", message);
  }
  const segmentBytes = Math.min(1024 * 1024, Math.floor(maxBytes / 8));
  const wanted = { ...DEFAULT_RETENTION, ...retention };
  return {
    boundBytes: maxBytes,
    segmentBytes,
    segments: 16,
    carryAboveBytes: maxBytes - 2 * segmentBytes - LOCK_BYTES,
    unfinishedBytes: Math.floor(maxBytes / 2),
    retention: {
      ...wanted,
      finishedKeys: Math.min(wanted.finishedKeys, Math.floor(maxBytes / 8 / FINISHED_RECORD_BYTES)),
      replyBytes: Math.min(wanted.replyBytes, Math.floor(maxBytes / 8)),
    },
  };
}
