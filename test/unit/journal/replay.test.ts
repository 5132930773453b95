import { beforeEach, describe, expect, test } from "vitest";
import { Book, DEFAULT_RETENTION } from "../../../src/journal/book.ts";
import type { JournalRecord } from "../../../src/journal/record.ts";
import { replay } from "../../../src/journal/replay.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";

const WEEK = DEFAULT_RETENTION.finishedMs;

describe("replaying records", () => {
  let book: Book;
  let clock: FakeClock;
  let segment: number;

  beforeEach(() => {
    book = new Book(DEFAULT_RETENTION);
    clock = new FakeClock();
    segment = 1;
  });

  function play(...records: JournalRecord[]): void {
    for (const record of records) replay(book, record, segment++, clock);
    book.restored(clock.nowMs());
  }

  const accepted = (order: number, starts = 0): JournalRecord => ({
    type: "accepted",
    order,
    starts,
    question: question("a", { payload: Uint8Array.of(order) }),
  });
  const answered = (order: number): JournalRecord => ({
    type: "answered",
    order,
    key: "a",
    dead: false,
    reply: reply("a", { payload: Uint8Array.of(order) }),
  });
  const settled = (order: number, wallMs = clock.wallMs()): JournalRecord => ({
    type: "settled",
    order,
    key: "a",
    dead: false,
    settled: { order, wallMs },
  });

  test("a question carried over while open is one question with what became of its attempts last", () => {
    const started = (starts: number, deaths = 0): JournalRecord => ({ type: "started", key: "a", starts, deaths });
    play(accepted(1), started(1), started(0, 1), started(1, 1), accepted(1, 1), started(2));
    const asked = question("a", { payload: Uint8Array.of(1) });
    expect(book.recovered().open).toEqual([{ question: asked, starts: 2, deaths: 0 }]);
    play(started(0, 1));
    expect(book.recovered().open).toEqual([{ question: asked, starts: 0, deaths: 1 }]);
  });

  test("a question keeps the packet identifier it came under when it is answered", () => {
    play({ type: "accepted", order: 1, starts: 0, question: question("a", { packetId: 7 }) }, answered(1), settled(1));
    expect(book.acceptedAs(7)).toBe("a");
    book.forget("a");
    expect(book.acceptedAs(7)).toBeUndefined();
  });

  test("a key asked anew after it was forgotten is a new question", () => {
    play(accepted(1), answered(1), settled(1), accepted(7));
    expect(book.recovered().open).toEqual([
      { question: question("a", { payload: Uint8Array.of(7) }), starts: 0, deaths: 0 },
    ]);
  });

  test("nothing of an older life changes the newer one", () => {
    play(accepted(7), answered(1), settled(1));
    expect(book.state("a")).toBe("accepted");
    play(answered(7), accepted(1), answered(1));
    expect(book.reply("a")?.payload).toEqual(Uint8Array.of(7));
  });

  test("a reply without its question is sent, a settling without its reply is remembered", () => {
    play(answered(1));
    expect(book.recovered().unsettled).toHaveLength(1);
    book.forget("a");
    play(settled(1));
    expect(book.state("a")).toBe("settled");
    expect(book.recovered()).toEqual({ open: [], unsettled: [] });
  });

  test("a death is a mark that settling does not lift", () => {
    play(accepted(1), answered(1), { type: "dead", key: "a" }, settled(1));
    expect(book.state("a")).toBe("dead");
  });

  test("starts and deaths of unknown questions are passed over", () => {
    play({ type: "started", key: "a", starts: 3 }, { type: "dead", key: "a" });
    expect(book.state("a")).toBe("unknown");
  });

  test("needs the segment of the question, then of the reply, and of the settling once there is no reply", () => {
    play(accepted(1), { type: "started", key: "a", starts: 1 });
    expect(book.get("a")?.segment).toBe(1);
    play(answered(1), settled(1));
    expect(book.get("a")?.segment).toBe(3);
    book.forget("a");
    play(settled(1));
    expect(book.get("a")?.segment).toBe(5);
  });

  test("counts a settling's age by the wall clock, and as new when that stands before it", () => {
    play(settled(1, clock.wallMs() - WEEK - 1));
    expect(book.state("a")).toBe("unknown");
    play(settled(2, clock.wallMs() + WEEK));
    expect(book.state("a")).toBe("settled");
    clock.advance(WEEK + 1);
    book.restored(clock.nowMs());
    expect(book.state("a")).toBe("unknown");
  });
});
