// What the journal knows, in memory: one entry a question and the only allowed order of its life (accepted, answered,
// settled, with death as a mark beside it). Memory and file journal share it, so that both give the same answers.
// Bounded: settled questions are kept for de-duplication up to a number, an age and a budget of reply bytes.
import { PipitError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { AcceptedQuestion, QuestionState, Recovered } from "../core/ports.ts";

export interface Retention {
  /** Settled questions remembered, oldest forgotten first. */
  finishedKeys: number;
  /** How long a settled question is remembered. */
  finishedMs: number;
  /** Reply bytes of settled questions kept for repeats, oldest dropped first. */
  replyBytes: number;
}

export const DEFAULT_RETENTION: Retention = {
  finishedKeys: 10_000,
  finishedMs: 7 * 24 * 60 * 60 * 1000,
  replyBytes: 1024 * 1024,
};

export interface Settled {
  /** Counts settlings since the journal was created: the lowest is forgotten first. */
  order: number;
  wallMs: number;
}

export interface Entry {
  readonly key: string;
  /** Counts acceptances since the journal was created: recovery hands questions back in this order. */
  readonly order: number;
  phase: "accepted" | "answered" | "settled";
  dead: boolean;
  starts: number;
  deaths: number;
  /** Packet identifier of the delivery that was accepted. */
  packetId?: number;
  /** Held until the reply is stored; what a crash would need to ask again. */
  question?: AcceptedQuestion;
  /** Held until settled, and after that as long as the reply budget allows. */
  reply?: OutgoingMessage;
  settled?: Settled;
  /** Monotonic, so that a jump of the wall clock forgets nothing early. */
  settledMs?: number;
  /** File journal: the oldest segment that holds a record this entry needs; undefined until one is written. */
  segment?: number;
  /** File journal: bytes it counts for among the unsettled. */
  weight?: number;
}

/** Bytes a reply holds in memory, near enough for a budget. */
export function replySize(reply: OutgoingMessage): number {
  return reply.payload.byteLength + (reply.correlationData?.byteLength ?? 0) + reply.topic.length + 64;
}

export class Book {
  #retention: Retention;
  /** Insertion order is acceptance order for unfinished entries. */
  readonly #entries = new Map<string, Entry>();
  /** Insertion order is settling order: the front is forgotten first. */
  readonly #finished = new Map<string, Entry>();
  /** The finished entries that still have their reply, in the same order. */
  readonly #repeatable = new Map<string, Entry>();
  #repeatableBytes = 0;
  /** The entry that was accepted last under each packet identifier. */
  readonly #packets = new Map<number, Entry>();
  #nextOrder = 1;
  #nextSettledOrder = 1;

  constructor(retention: Retention) {
    this.#retention = retention;
  }

  get size(): { unfinished: number; finished: number; replyBytes: number } {
    const finished = this.#finished.size;
    return { unfinished: this.#entries.size - finished, finished, replyBytes: this.#repeatableBytes };
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  get(key: string): Entry | undefined {
    return this.#entries.get(key);
  }

  state(key: string): QuestionState {
    const entry = this.#entries.get(key);
    if (entry === undefined) return "unknown";
    return entry.dead ? "dead" : entry.phase;
  }

  reply(key: string): OutgoingMessage | undefined {
    return this.#entries.get(key)?.reply;
  }

  /** A new life of the key, also when an old one is still remembered. */
  accept(question: AcceptedQuestion, order: number = this.#nextOrder): Entry {
    this.forget(question.key);
    const { key, packetId } = question;
    const entry: Entry = { key, order, phase: "accepted", dead: false, starts: 0, deaths: 0, packetId, question };
    this.#enter(entry);
    return entry;
  }

  acceptedAs(packetId: number): string | undefined {
    return this.#packets.get(packetId)?.key;
  }

  begin(key: string): Entry {
    const entry = this.#entries.get(key);
    if (entry?.phase !== "accepted") throw wrongOrder("begin", key, this.state(key));
    entry.starts += 1;
    return entry;
  }

  interrupt(key: string, cause: "death" | "stop"): Entry {
    const entry = this.#entries.get(key);
    if (entry?.phase !== "accepted" || entry.starts === 0) throw wrongOrder("interrupt", key, this.state(key));
    entry.starts -= 1;
    if (cause === "death") entry.deaths += 1;
    return entry;
  }

  /** The reply counts from here on; the question is no longer needed. */
  answer(key: string, reply: OutgoingMessage): Entry {
    const entry = this.#entries.get(key);
    if (entry?.phase !== "accepted") throw wrongOrder("answer", key, this.state(key));
    entry.phase = "answered";
    entry.reply = reply;
    entry.question = undefined;
    return entry;
  }

  /** Returns nothing when there is nothing to note: the key is settled already, or was forgotten since. */
  settle(key: string, nowMs: number, wallMs: number): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.phase === "settled") return undefined;
    if (entry.phase === "accepted") throw wrongOrder("settle", key, "accepted");
    this.finish(entry, { order: this.#nextSettledOrder, wallMs }, nowMs);
    this.#trim(nowMs);
    return entry;
  }

  bury(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.dead) return undefined;
    if (entry.phase === "accepted") throw wrongOrder("bury", key, "accepted");
    entry.dead = true;
    return entry;
  }

  /** More or less is remembered of settled questions from now on. */
  retain(retention: Retention, nowMs: number): void {
    this.#retention = retention;
    this.#trim(nowMs);
  }

  /** Puts an entry read back from disk in place of what was known of its key. */
  restore(entry: Entry): void {
    this.forget(entry.key);
    this.#enter(entry);
  }

  finish(entry: Entry, settled: Settled, settledMs: number): void {
    entry.phase = "settled";
    entry.question = undefined;
    entry.settled = settled;
    entry.settledMs = settledMs;
    this.#nextSettledOrder = Math.max(this.#nextSettledOrder, settled.order + 1);
    this.#finished.set(entry.key, entry);
    if (entry.reply === undefined) return;
    this.#repeatable.set(entry.key, entry);
    this.#repeatableBytes += replySize(entry.reply);
  }

  /** All entries are read back: brings them in their order, for records that were carried over come late. */
  restored(nowMs: number): void {
    for (const kept of [this.#finished, this.#repeatable]) {
      const inOrder = [...kept].sort(([, a], [, b]) => (a.settled?.order ?? 0) - (b.settled?.order ?? 0));
      kept.clear();
      for (const [key, entry] of inOrder) kept.set(key, entry);
    }
    this.#trim(nowMs);
  }

  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#dropReply(entry);
    this.#finished.delete(key);
    this.#entries.delete(key);
    if (entry.packetId !== undefined && this.#packets.get(entry.packetId) === entry)
      this.#packets.delete(entry.packetId);
  }

  #enter(entry: Entry): void {
    this.#entries.set(entry.key, entry);
    this.#nextOrder = Math.max(this.#nextOrder, entry.order + 1);
    const { packetId } = entry;
    if (packetId === undefined || (this.#packets.get(packetId)?.order ?? 0) > entry.order) return;
    this.#packets.set(packetId, entry);
  }

  recovered(): Recovered {
    const byOrder = [...this.#entries.values()].sort((a, b) => a.order - b.order);
    const open: Recovered["open"] = [];
    const unsettled: Recovered["unsettled"] = [];
    for (const { key, phase, question, reply, starts, deaths } of byOrder) {
      if (phase === "accepted" && question !== undefined) open.push({ question, starts, deaths });
      if (phase === "answered" && reply !== undefined) unsettled.push({ key, reply });
    }
    return { open, unsettled };
  }

  #trim(nowMs: number): void {
    for (const entry of this.#finished.values()) {
      const age = nowMs - (entry.settledMs ?? nowMs);
      if (this.#finished.size <= this.#retention.finishedKeys && age <= this.#retention.finishedMs) break;
      this.forget(entry.key);
    }
    for (const entry of this.#repeatable.values()) {
      if (this.#repeatableBytes <= this.#retention.replyBytes) break;
      this.#dropReply(entry);
    }
  }

  #dropReply(entry: Entry): void {
    if (!this.#repeatable.delete(entry.key) || entry.reply === undefined) return;
    this.#repeatableBytes -= replySize(entry.reply);
    entry.reply = undefined;
  }
}

function wrongOrder(call: string, key: string, state: QuestionState): PipitError {
  return new PipitError("bug", "journal_order", `journal: ${call} of question "${key}", which is ${state}`);
}
