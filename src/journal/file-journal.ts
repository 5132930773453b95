// The journal on disk. What it promises by `durability`:
// - `full`: `accept` and `answer` resolve after fdatasync: nothing that was acknowledged is lost, by a kill or a power cut.
// - `relaxed`: they resolve once written, the sync follows within a second: a kill of the process loses nothing, a power
//   cut loses up to the last second of questions and replies, though the broker has their PUBACK.
// Starts and settlings are written at once and synced with whatever comes next: a lost start counts one death too few, a
// lost settling repeats one reply, byte for byte. While the disk fails every promise rejects with `journal_unavailable`
// and what is known stays in memory; the disk is tried again every second. Nothing is written at idle.
import { randomBytes } from "node:crypto";
import { PipitError } from "../core/errors.ts";
import type { Attempts } from "../core/attempts.ts";
import type { Health, HealthSource } from "../core/health.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { AcceptedQuestion, Clock, Journal, Logger, QuestionState, Recovered } from "../core/ports.ts";
import { Book } from "./book.ts";
import type { Entry, Retention } from "./book.ts";
import { nodeDisk } from "./disk.ts";
import { directoryFault } from "./directory-fault.ts";
import type { Disk } from "./disk.ts";
import { boundOn, journalLimits } from "./limits.ts";
import type { JournalLimits } from "./limits.ts";
import { recordOf, startedRecordOf } from "./record.ts";
import { recover } from "./recover.ts";
import { SegmentLog } from "./segment-log.ts";
import type { LogCounters } from "./segment-log.ts";
import { RETRY_MS, Store } from "./store.ts";

export interface FileJournalOptions {
  directory: string;
  durability: "full" | "relaxed";
  /** Bound of the directory, half of the room there where that is less; questions are refused with `journal_full` before it is reached. */
  maxBytes: number;
  clock: Clock;
  logger: Logger;
  /** Told when the disk stops taking writes, and when it takes them again: time to have withheld messages sent again. */
  onWritable?: (writable: boolean) => void;
  retention?: Partial<Retention>;
  disk?: Disk;
  /** Random 32 bits for a new segment. */
  salt?: () => number;
}

export interface JournalStats {
  durability: "full" | "relaxed";
  /** False while the disk refuses writes. */
  writable: boolean;
  segments: number;
  diskBytes: number;
  /** Bytes of questions and replies that are not settled; `accept` rejects beyond the bound. */
  unfinishedBytes: number;
  unfinished: number;
  finished: number;
  /** Since start: questions accepted, and what was written for everything. */
  accepted: number;
  written: LogCounters;
}

/** An SD card that tidies up takes seconds over a write; one that takes this long is not coming back. */
const STEP_MS = 60_000;

export class FileJournal implements Journal, HealthSource {
  readonly room = "journal";
  readonly durable = true;
  readonly #options: FileJournalOptions;
  readonly #disk: Disk;
  #limits: JournalLimits;
  readonly #book: Book;
  readonly #log: SegmentLog;
  readonly #store: Store;
  /** Promises of records on their way to the disk, so that a second call waits for the first. */
  readonly #accepting = new Map<string, Promise<void>>();
  readonly #answering = new Map<string, Promise<void>>();
  #unfinishedBytes = 0;
  #accepted = 0;
  #release: (() => Promise<void>) | undefined;

  constructor(options: FileJournalOptions) {
    const { directory, durability, maxBytes, retention, clock, logger, onWritable } = options;
    this.#options = options;
    this.#disk = options.disk ?? nodeDisk;
    this.#limits = journalLimits(maxBytes, retention);
    const limits = () => this.#fit();
    const book = new Book(this.#limits.retention);
    const salt = options.salt ?? (() => randomBytes(4).readUInt32BE());
    const log = new SegmentLog({ disk: this.#disk, directory, salt });
    this.#book = book;
    this.#log = log;
    this.#store = new Store({ directory, durability, limits, log, book, clock, logger, onWritable });
  }

  get stats(): JournalStats {
    return {
      durability: this.#options.durability,
      writable: this.#store.writable,
      segments: this.#log.segments,
      diskBytes: this.#log.bytes,
      unfinishedBytes: this.#unfinishedBytes,
      unfinished: this.#book.size.unfinished,
      finished: this.#book.size.finished,
      accepted: this.#accepted,
      written: { ...this.#log.counters },
    };
  }

  /** A write or sync that does not return is owed. A disk that refuses is no hang: it is tried again every second. */
  health(): Health {
    const { writes, dataSyncs, directorySyncs } = this.#log.counters;
    const steps = writes + dataSyncs + directorySyncs;
    return this.#store.busy ? { steps, doing: { what: "a write to the disk", stepMs: STEP_MS } } : { steps };
  }

  /**
   * Locks the directory and reads it. Rejects with kind `config`: `journal_locked`, `journal_newer` (written by a later
   * version and left as it is), `journal_directory` (cannot be made or read; `transient` where that may pass). Damage is reported and survived.
   */
  async start(): Promise<Recovered> {
    if (this.#release !== undefined) return this.#book.recovered();
    const { directory, clock, logger } = this.#options;
    const release = await this.#enter();
    try {
      const found = await recover({ disk: this.#disk, directory, clock, logger, book: this.#book });
      this.#log.resume(found.segments, found.nextSequence);
      const entries = [...this.#book.entries()];
      for (const entry of entries) this.#weigh(entry);
      const { unsyncedSegment } = found;
      const owed = entries.filter(({ segment }) => unsyncedSegment !== undefined && segment === unsyncedSegment);
      await this.#store.start(owed);
    } catch (error) {
      await release();
      throw error;
    }
    this.#release = release;
    return this.#book.recovered();
  }

  async stop(): Promise<void> {
    const release = this.#release;
    if (release === undefined) return;
    this.#release = undefined;
    await this.#store.stop();
    await release();
  }

  state(key: string): QuestionState {
    return this.#book.state(key);
  }

  reply(key: string): OutgoingMessage | undefined {
    return this.#book.reply(key);
  }

  accept(question: AcceptedQuestion): Promise<void> {
    const { key } = question;
    if (this.#book.get(key) !== undefined) return this.#accepting.get(key) ?? Promise.resolve();
    if (!this.#store.writable) return Promise.reject(this.#store.unavailable);
    const entry = this.#book.accept(question);
    this.#weigh(entry);
    const forget = (): void => {
      this.#book.forget(key);
      this.#unfinishedBytes -= entry.weight ?? 0;
    };
    if (this.#unfinishedBytes > this.#limits.unfinishedBytes) {
      const message = `journal: full, ${this.#unfinishedBytes} bytes unsettled, ${this.#limits.unfinishedBytes} allowed`;
      forget();
      return Promise.reject(new PipitError("transient", "journal_full", message, { retryAfterMs: RETRY_MS }));
    }
    const durable = this.#store.add(entry, { type: "accepted", order: entry.order, starts: 0, question }).then(
      () => {
        this.#accepted += 1;
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
    return shared(this.#accepting, key, durable);
  }

  acceptedAs(packetId: number): string | undefined {
    return this.#book.acceptedAs(packetId);
  }

  begin(key: string): Attempts {
    return this.#noteAttempts(this.#book.begin(key));
  }

  interrupt(key: string, cause: "death" | "stop"): Attempts {
    return this.#noteAttempts(this.#book.interrupt(key, cause));
  }

  async answer(key: string, reply: OutgoingMessage): Promise<void> {
    const entry = this.#book.get(key);
    if (entry === undefined) return void this.#book.answer(key, reply);
    if (entry.phase !== "accepted") return;
    const record = { type: "answered" as const, order: entry.order, key, dead: false, reply };
    const durable = this.#answering.get(key) ?? shared(this.#answering, key, this.#answer(entry, record));
    await durable;
  }

  settle(key: string): void {
    const { clock } = this.#options;
    const entry = this.#book.settle(key, clock.nowMs(), clock.wallMs());
    if (entry === undefined) return;
    this.#weigh(entry);
    this.#store.note(entry, recordOf({ ...entry, reply: undefined }));
  }

  bury(key: string): void {
    const entry = this.#book.bury(key);
    if (entry !== undefined) this.#store.note(entry, { type: "dead", key });
  }

  #noteAttempts(entry: Entry): Attempts {
    this.#store.note(entry, startedRecordOf(entry));
    return { starts: entry.starts, deaths: entry.deaths };
  }

  async #answer(entry: Entry, record: Extract<Parameters<Store["add"]>[1], { type: "answered" }>): Promise<void> {
    await this.#store.add(entry, record);
    this.#book.answer(entry.key, record.reply);
    this.#weigh(entry);
  }

  /** On a disk with little room less is remembered of settled questions, so that the segments they need may go. */
  async #fit(): Promise<JournalLimits> {
    const { directory, maxBytes, retention, clock, logger } = this.#options;
    // A disk that does not tell is used as any: up to the bound.
    const freeBytes = await this.#disk.freeBytes(directory).catch(() => Infinity);
    const before = this.#limits;
    const boundBytes = boundOn(maxBytes, this.#log.bytes + freeBytes, this.#unfinishedBytes);
    this.#limits = journalLimits(boundBytes, retention);
    if (boundBytes < maxBytes && before.boundBytes === maxBytes) {
      const sentence = `journal: the disk of ${directory} has little room: fewer finished questions are remembered`;
      logger.warn({ freeBytes, maxBytes, boundBytes }, sentence);
    }
    this.#book.retain(this.#limits.retention, clock.nowMs());
    return this.#limits;
  }

  async #enter(): Promise<() => Promise<void>> {
    const { directory } = this.#options;
    try {
      await this.#disk.makeDirectory(directory);
      return await this.#disk.lock(directory);
    } catch (thrown) {
      if (thrown instanceof PipitError) throw thrown;
      throw directoryFault("use", directory, thrown);
    }
  }

  #weigh(entry: Entry): void {
    const weight = entryWeight(entry);
    this.#unfinishedBytes += weight - (entry.weight ?? 0);
    entry.weight = weight;
  }
}

/** Bytes an entry counts against the bound of unsettled ones: its content and about what a record adds. */
function entryWeight({ phase, question, reply }: Entry): number {
  const content = question ?? reply;
  if (phase === "settled" || content === undefined) return 0;
  const extra = content.userProperties === undefined ? 0 : JSON.stringify(content.userProperties).length;
  return 300 + content.topic.length + content.payload.length + (content.correlationData?.length ?? 0) + extra;
}

/** Remembers a promise until it is settled, for those who ask for the same meanwhile. */
function shared(map: Map<string, Promise<void>>, key: string, promise: Promise<void>): Promise<void> {
  const settled = promise.finally(() => map.delete(key));
  map.set(key, settled);
  return settled;
}
