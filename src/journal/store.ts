// Gets the book's changes onto the disk: commits them in groups, begins and drops segments, and survives a disk that fails.
// After a failure nothing is taken until a new segment could be opened and everything that is owed is in it: entries with
// a record that was written but never synced, or that could not be written at all.
import { PipitError, toError } from "../core/errors.ts";
import type { Clock, Logger } from "../core/ports.ts";
import type { Book, Entry } from "./book.ts";
import { CommitQueue } from "./commit-queue.ts";
import type { JournalLimits } from "./limits.ts";
import { encodeRecord, recordOf } from "./record.ts";
import type { JournalRecord } from "./record.ts";
import type { SegmentLog } from "./segment-log.ts";
import type { Frame } from "./segment.ts";

export interface StoreOptions {
  directory: string;
  durability: "full" | "relaxed";
  /** By the room on the disk; asked at each new segment. */
  limits: () => Promise<JournalLimits>;
  log: SegmentLog;
  book: Book;
  clock: Clock;
  logger: Logger;
  onWritable?: (writable: boolean) => void;
}

interface Note {
  entry: Entry;
  record: JournalRecord;
  frame: Frame;
}

/** How soon a failed disk is tried again, and told to whoever was refused. */
export const RETRY_MS = 1000;
const RELAXED_SYNC_MS = 1000;
/** Carried over in one write. */
const CARRY_FRAMES = 256;

export class Store {
  readonly #options: StoreOptions;
  readonly #log: SegmentLog;
  readonly #queue: CommitQueue<Note>;
  /** Entries with a record that is not known to be synced. */
  readonly #owed = new Set<Entry>();
  #segmentBytes = Infinity;
  #running = false;
  #writable = false;
  #failure: Error | undefined;
  #syncDue = false;
  #cancelSync: (() => void) | undefined;
  #cancelRetry: (() => void) | undefined;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#queue = new CommitQueue({ commit: (notes) => this.#commit(notes), between: () => this.#between() });
  }

  /** False before start, after stop, and while the disk refuses writes. */
  get writable(): boolean {
    return this.#writable;
  }

  /** Something is on its way to the disk. */
  get busy(): boolean {
    return this.#queue.busy;
  }

  /** What a caller is told while the store is not writable. */
  get unavailable(): PipitError {
    const reason = this.#failure?.message ?? "not started";
    const message = `journal: cannot write to ${this.#options.directory}: ${reason}`;
    return new PipitError("transient", "journal_unavailable", message, {
      cause: this.#failure,
      retryAfterMs: RETRY_MS,
    });
  }

  /** Opens a segment, or begins to try; either way the store has started. */
  async start(owed: Iterable<Entry>): Promise<void> {
    for (const entry of owed) this.#owed.add(entry);
    this.#running = true;
    this.#queue.kick();
    await this.#queue.idle();
  }

  async stop(): Promise<void> {
    await this.#queue.idle();
    this.#running = false;
    this.#writable = false;
    for (const cancel of [this.#cancelSync, this.#cancelRetry]) cancel?.();
    this.#cancelSync = this.#cancelRetry = undefined;
    try {
      await this.#log.seal();
    } catch (thrown) {
      this.#options.logger.warn({}, `journal: the last records may not be synced: ${toError(thrown).message}`);
      await this.#log.abandon();
    }
  }

  /** Resolves when the record would survive what `durability` promises to survive. */
  add(entry: Entry, record: JournalRecord): Promise<void> {
    if (!this.#writable) return Promise.reject(this.unavailable);
    return this.#queue.add({ entry, record, frame: encodeRecord(record) });
  }

  /** A record nobody waits for: what cannot be written now is owed. */
  note(entry: Entry, record: JournalRecord): void {
    if (!this.#writable) this.#owed.add(entry);
    else this.#queue.add({ entry, record, frame: encodeRecord(record) }).catch(() => undefined);
  }

  async #commit(notes: Note[]): Promise<void> {
    for (const { entry } of notes) this.#owed.add(entry);
    if (!this.#writable) throw this.unavailable;
    try {
      await this.#log.append(notes.map(({ frame }) => frame));
      if (this.#options.durability === "relaxed") this.#syncLater();
      else if (notes.some(({ record }) => record.type === "accepted" || record.type === "answered")) await this.#sync();
    } catch (thrown) {
      await this.#fail(toError(thrown));
      throw this.unavailable;
    }
    for (const { entry, record } of notes) place(entry, record, this.#log.activeNumber);
  }

  /** Alone between commits: opens the first segment and every next one, and drops the old. */
  async #between(): Promise<void> {
    if (!this.#running) return;
    try {
      if (!this.#writable && this.#cancelRetry === undefined) await this.#open();
      if (this.#syncDue) await this.#sync();
      if (this.#log.activeBytes >= this.#segmentBytes) {
        await this.#log.open();
        await this.#makeRoom();
      }
    } catch (thrown) {
      await this.#fail(toError(thrown));
    }
  }

  async #open(): Promise<void> {
    await this.#log.open();
    await this.#carry([...this.#owed]);
    await this.#makeRoom();
    this.#writable = true;
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#options.logger.info({}, `journal: ${this.#options.directory} takes writes again`);
    this.#options.onWritable?.(true);
  }

  async #fail(error: Error): Promise<void> {
    await this.#log.abandon();
    this.#writable = false;
    const first = this.#failure === undefined;
    this.#failure = error;
    this.#cancelRetry = this.#options.clock.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      this.#queue.kick();
    });
    if (!first) return;
    this.#options.logger.error({ code: (error as NodeJS.ErrnoException).code }, this.unavailable.message);
    this.#options.onWritable?.(false);
  }

  /** For a new segment: drops old ones that nothing needs; beyond the bound also those still needed, once that is carried over. */
  async #makeRoom(): Promise<void> {
    const { book } = this.#options;
    const limits = await this.#options.limits();
    this.#segmentBytes = limits.segmentBytes;
    for (const { number } of [...this.#log.sealed]) {
      const needed = [...book.entries()].filter((entry) => entry.segment === number);
      const tight = this.#log.sealed.length >= limits.segments || this.#log.bytes > limits.carryAboveBytes;
      if (needed.length > 0 && !tight) return;
      await this.#carry(needed);
      await this.#log.dropOldest();
    }
  }

  /** Writes the entries as they stand into the active segment and syncs it. */
  async #carry(entries: Entry[]): Promise<void> {
    const live = entries.filter((entry) => this.#options.book.get(entry.key) === entry);
    for (let from = 0; from < live.length; from += CARRY_FRAMES) {
      const part = live.slice(from, from + CARRY_FRAMES);
      await this.#log.append(part.map((entry) => encodeRecord(recordOf(entry))));
    }
    await this.#sync();
    for (const entry of live) entry.segment = this.#log.activeNumber;
  }

  async #sync(): Promise<void> {
    this.#syncDue = false;
    this.#cancelSync?.();
    this.#cancelSync = undefined;
    if (this.#log.unsynced) await this.#log.sync();
    this.#owed.clear();
  }

  #syncLater(): void {
    this.#cancelSync ??= this.#options.clock.after(RELAXED_SYNC_MS, () => {
      this.#cancelSync = undefined;
      this.#syncDue = true;
      this.#queue.kick();
    });
  }
}

/** Notes which segment the entry needs from now on: the one with its question, then with its reply, then with its end. */
function place(entry: Entry, record: JournalRecord, segment: number | undefined): void {
  const holdsContent = record.type === "accepted" || record.type === "answered";
  if (holdsContent || (record.type === "settled" && entry.reply === undefined)) entry.segment = segment;
}
