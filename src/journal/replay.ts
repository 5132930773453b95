// Rebuilds the book from records in the order of their sequence numbers. Every rule holds for any subset of the records a
// journal has ever written, in that order: records may be missing (damage, a power cut) and entries may come twice (they
// were carried over to a newer segment, and the older one is still there).
import type { Clock } from "../core/ports.ts";
import type { Book, Entry, Settled } from "./book.ts";
import type { JournalRecord } from "./record.ts";

export function replay(book: Book, record: JournalRecord, segment: number, clock: Clock): void {
  const key = record.type === "accepted" ? record.question.key : record.key;
  const known = book.get(key);
  switch (record.type) {
    case "accepted": {
      // An older life of a key that was forgotten and asked anew must not come back, nor an answered one be asked again.
      if (known !== undefined && known.order > record.order) return;
      if (known?.order === record.order && known.phase !== "accepted") return;
      const entry = book.accept(record.question, record.order);
      entry.starts = record.starts;
      entry.deaths = record.deaths ?? 0;
      entry.segment = segment;
      return;
    }
    case "started":
      // The last one counts: starts go down again when it is known how they ended.
      if (known?.phase === "accepted") {
        known.starts = record.starts;
        known.deaths = record.deaths ?? 0;
      }
      return;
    case "answered": {
      if (known !== undefined && known.order > record.order) return;
      const { order, dead, reply, settled } = record;
      const packetId = known?.order === order ? known.packetId : undefined;
      const entry: Entry = { key, order, phase: "answered", dead, starts: 0, deaths: 0, packetId, reply, segment };
      book.restore(entry);
      if (settled !== undefined) finish(book, entry, settled, clock);
      return;
    }
    case "settled": {
      if (known !== undefined && (known.order > record.order || known.phase === "settled")) return;
      const { order, dead, settled } = record;
      const entry =
        known?.order === order ? known : { key, order, phase: "settled" as const, dead, starts: 0, deaths: 0 };
      if (entry !== known) book.restore(entry);
      entry.dead ||= dead;
      // Without its reply nothing older is needed to remember it.
      if (entry.reply === undefined) entry.segment = segment;
      finish(book, entry, settled, clock);
      return;
    }
    case "dead":
      if (known !== undefined && known.phase !== "accepted") known.dead = true;
      return;
  }
}

/** A clock that stands before the record has gone back, or is not set yet: the entry counts as settled just now. */
function finish(book: Book, entry: Entry, settled: Settled, clock: Clock): void {
  const ageMs = Math.max(0, clock.wallMs() - settled.wallMs);
  book.finish(entry, settled, clock.nowMs() - ageMs);
}
