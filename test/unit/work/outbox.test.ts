import { describe, expect, test } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import { MemoryJournal } from "../../../src/journal/memory-journal.ts";
import { Outbox } from "../../../src/work/outbox.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { drain } from "../../fixtures/pipeline-agent.ts";

describe("a journal that takes no replies", () => {
  class FullDisk extends MemoryJournal {
    fault: Error | undefined = new PipitError("transient", "journal_unavailable", "cannot write to /state: ENOSPC");

    override answer(...args: Parameters<MemoryJournal["answer"]>): Promise<void> {
      return this.fault ? Promise.reject(this.fault) : super.answer(...args);
    }
  }

  async function withWaitingReplies(count: number, change: (journal: FullDisk) => void = () => {}) {
    const clock = new FakeClock();
    const log = new FakeLogger();
    const journal = new FullDisk({ clock });
    change(journal);
    const outbox = new Outbox(journal, { publish: () => Promise.resolve() }, clock, log);
    for (let index = 0; index < count; index++) await journal.accept(question(`q${index}`));
    const delivered = Array.from({ length: count }, (_, index) => outbox.deliver(`q${index}`, reply(`q${index}`)));
    const seconds = async (number: number): Promise<void> => {
      for (let second = 0; second < number; second++) {
        await drain();
        clock.advance(1000);
      }
      await drain();
    };
    return { journal, outbox, log, delivered, seconds };
  }

  test("is one line at first, one a minute with the number of replies that wait, and one when it is over", async () => {
    const { journal, log, delivered, seconds } = await withWaitingReplies(3);
    await seconds(150);
    journal.fault = undefined;
    await seconds(1);
    await Promise.all(delivered);
    const reason = "cannot write to /state: ENOSPC";
    const message = "the journal does not take replies: tried again every second";
    expect(log.lines).toEqual([
      { level: "warn", fields: { waiting: 1, reason }, message },
      { level: "warn", fields: { waiting: 3, reason }, message },
      { level: "warn", fields: { waiting: 3, reason }, message },
      { level: "info", fields: {}, message: "the journal takes replies again" },
    ]);
  });

  test("for a reason nobody knows of is told with its stack", async () => {
    const fault = new TypeError("undefined is not a function");
    const { outbox, log, seconds } = await withWaitingReplies(1, (journal) => (journal.fault = fault));
    await seconds(3);
    expect(log.lines).toMatchObject([{ level: "warn", fields: { err: fault } }]);
    outbox.stop();
  });

  test("again and again for moments is no line each time", async () => {
    const { journal, outbox, log, delivered, seconds } = await withWaitingReplies(1);
    const { fault } = journal;
    journal.fault = undefined;
    await seconds(1);
    await Promise.all(delivered);
    for (let time = 1; time <= 20; time++) {
      await journal.accept(question(`again${time}`));
      journal.fault = fault;
      const again = outbox.deliver(`again${time}`, reply(`again${time}`));
      await drain();
      journal.fault = undefined;
      await seconds(1);
      await again;
    }
    expect(log.lines).toHaveLength(2);
  });
});
