// What every journal owes its caller, whatever it writes to. Run for the memory journal and for the file journal.
import { describe, expect, test } from "vitest";
import type { OutgoingMessage } from "../../src/core/message.ts";
import type { AcceptedQuestion, Journal } from "../../src/core/ports.ts";
import type { FakeClock } from "../fakes/clock.ts";

export interface JournalUnderTest {
  journal: Journal;
  clock: FakeClock;
  /** Releases what `make` took; also stops the journal. */
  cleanup: () => Promise<void>;
}

export interface JournalLimits {
  finishedKeys: number;
  finishedMs: number;
  replyBytes: number;
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);

export function question(key: string, more: Partial<AcceptedQuestion> = {}): AcceptedQuestion {
  return {
    key,
    topic: "pipit/board/ask",
    payload: text(`{"text":"What is ${key}?"}`),
    acceptedWallMs: 1_800_000_000_000,
    deadlineWallMs: 1_800_000_060_000,
    ...more,
  };
}

export function reply(key: string, more: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return { topic: "pipit/board/answer", payload: text(`{"id":"${key}","status":"ok"}`), text: true, ...more };
}

export const LIMITS: JournalLimits = { finishedKeys: 5, finishedMs: 60_000, replyBytes: 1_000 };

/** `make` gives a journal that has not been started, with the retention asked for. */
export function journalContract(name: string, make: (limits: JournalLimits) => Promise<JournalUnderTest>): void {
  async function using(run: (under: JournalUnderTest) => Promise<void>): Promise<void> {
    const under = await make(LIMITS);
    try {
      expect(await under.journal.start()).toEqual({ open: [], unsettled: [] });
      await run(under);
    } finally {
      await under.cleanup();
    }
  }

  async function finish(journal: Journal, key: string, more: Partial<OutgoingMessage> = {}): Promise<void> {
    await journal.accept(question(key));
    journal.begin(key);
    await journal.answer(key, reply(key, more));
    journal.settle(key);
  }

  describe(`${name} as a journal`, () => {
    test("a question goes from unknown over accepted and answered to settled", async () => {
      await using(async ({ journal }) => {
        expect(journal.state("a")).toBe("unknown");
        await journal.accept(question("a"));
        expect(journal.state("a")).toBe("accepted");
        await journal.answer("a", reply("a"));
        expect(journal.state("a")).toBe("answered");
        journal.settle("a");
        expect(journal.state("a")).toBe("settled");
      });
    });

    test("counts attempts without a known end, and apart from them the deaths of the model's process", async () => {
      await using(async ({ journal }) => {
        await journal.accept(question("a"));
        expect(journal.begin("a")).toEqual({ starts: 1, deaths: 0 });
        expect(journal.begin("a")).toEqual({ starts: 2, deaths: 0 });
        expect(journal.interrupt("a", "death")).toEqual({ starts: 1, deaths: 1 });
        expect(journal.interrupt("a", "stop")).toEqual({ starts: 0, deaths: 1 });
        expect(() => journal.interrupt("a", "stop")).toThrow(expect.objectContaining({ kind: "bug" }));
      });
    });

    test("knows which question came last under a packet identifier, also once it is answered", async () => {
      await using(async ({ journal }) => {
        await journal.accept(question("a", { packetId: 7 }));
        await journal.accept(question("b", { packetId: 7 }));
        await journal.accept(question("c"));
        expect(journal.acceptedAs(7)).toBe("b");
        expect(journal.acceptedAs(8)).toBeUndefined();
        await journal.answer("b", reply("b"));
        journal.settle("b");
        expect(journal.acceptedAs(7)).toBe("b");
      });
    });

    test("repeats the stored reply byte for byte, before and after it is settled", async () => {
      await using(async ({ journal }) => {
        const stored = reply("a", { correlationData: text("c"), userProperties: { x: "y" } });
        await journal.accept(question("a"));
        expect(journal.reply("a")).toBeUndefined();
        await journal.answer("a", stored);
        expect(journal.reply("a")).toEqual(stored);
        journal.settle("a");
        expect(journal.reply("a")).toEqual(stored);
      });
    });

    test("the first answer of a question stays, whatever is answered later", async () => {
      await using(async ({ journal }) => {
        await journal.accept(question("a"));
        const both = [journal.answer("a", reply("first")), journal.answer("a", reply("second"))];
        await Promise.all(both);
        expect(journal.reply("a")).toEqual(reply("first"));
      });
    });

    test("accepting a known question again changes nothing", async () => {
      await using(async ({ journal }) => {
        await Promise.all([journal.accept(question("a")), journal.accept(question("a"))]);
        journal.begin("a");
        await journal.accept(question("a"));
        expect(journal.begin("a")).toMatchObject({ starts: 2 });
        await journal.answer("a", reply("a"));
        await journal.accept(question("a"));
        expect(journal.state("a")).toBe("answered");
      });
    });

    test("a question is known from the call of accept on, so that a copy that follows at once is seen as one", async () => {
      await using(async ({ journal }) => {
        const accepted = journal.accept(question("a"));
        expect(journal.state("a")).toBe("accepted");
        await accepted;
      });
    });

    test("a buried question is dead and keeps its reply for repeats, also once that is settled", async () => {
      await using(async ({ journal }) => {
        await journal.accept(question("a"));
        await journal.answer("a", reply("a"));
        journal.bury("a");
        expect(journal.state("a")).toBe("dead");
        journal.settle("a");
        expect(journal.state("a")).toBe("dead");
        expect(journal.reply("a")).toEqual(reply("a"));
      });
    });

    test("refuses as a bug what is out of order", async () => {
      await using(async ({ journal }) => {
        const bug = expect.objectContaining({ kind: "bug", code: "journal_order" });
        expect(() => journal.begin("a")).toThrow(bug);
        await expect(journal.answer("a", reply("a"))).rejects.toEqual(bug);
        await journal.accept(question("a"));
        expect(() => journal.settle("a")).toThrow(bug);
        expect(() => journal.bury("a")).toThrow(bug);
        await journal.answer("a", reply("a"));
        expect(() => journal.begin("a")).toThrow(bug);
      });
    });

    test("settling twice, or what was forgotten, is no error", async () => {
      await using(async ({ journal }) => {
        await finish(journal, "a");
        journal.settle("a");
        journal.settle("never seen");
        journal.bury("never seen");
        expect(journal.state("a")).toBe("settled");
      });
    });

    test("forgets the oldest settled questions beyond the number kept, never an unsettled one", async () => {
      await using(async ({ journal }) => {
        await journal.accept(question("open"));
        for (let index = 0; index < LIMITS.finishedKeys + 2; index++) await finish(journal, `q${index}`);
        expect(journal.state("q0")).toBe("unknown");
        expect(journal.state("q1")).toBe("unknown");
        expect(journal.state("q2")).toBe("settled");
        expect(journal.state("open")).toBe("accepted");
      });
    });

    test("forgets settled questions beyond the age kept, whatever the wall clock does", async () => {
      await using(async ({ journal, clock }) => {
        await finish(journal, "a");
        clock.setWall(0);
        await finish(journal, "b");
        clock.setWall(4_000_000_000_000);
        await finish(journal, "c");
        expect(journal.state("a")).toBe("settled");
        clock.advance(LIMITS.finishedMs + 1);
        await finish(journal, "d");
        expect(["a", "b", "c", "d"].map((key) => journal.state(key))).toEqual([
          "unknown",
          "unknown",
          "unknown",
          "settled",
        ]);
      });
    });

    test("drops the replies of the oldest settled questions beyond the bytes kept, but still knows the keys", async () => {
      await using(async ({ journal }) => {
        const large = { payload: new Uint8Array(400) };
        await finish(journal, "a", large);
        await finish(journal, "b", large);
        await finish(journal, "c", large);
        expect(journal.reply("a")).toBeUndefined();
        expect(journal.reply("c")?.payload).toEqual(large.payload);
        expect(journal.state("a")).toBe("settled");
      });
    });

    test("stop is idempotent", async () => {
      await using(async ({ journal }) => {
        await journal.stop();
        await journal.stop();
      });
    });
  });
}
