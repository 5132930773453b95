import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileJournal } from "../../src/journal/file-journal.ts";
import { MemoryJournal } from "../../src/journal/memory-journal.ts";
import { FakeClock } from "../fakes/clock.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { journalContract } from "./journal.ts";

journalContract("the memory journal", (retention) => {
  const clock = new FakeClock();
  const journal = new MemoryJournal({ clock, retention });
  return Promise.resolve({ journal, clock, cleanup: () => journal.stop() });
});

for (const durability of ["full", "relaxed"] as const) {
  journalContract(`the file journal, durability ${durability}`, async (retention) => {
    const clock = new FakeClock();
    const directory = await mkdtemp(join(tmpdir(), "pipit-journal-"));
    const maxBytes = 1024 * 1024;
    const journal = new FileJournal({ directory, durability, maxBytes, clock, logger: new FakeLogger(), retention });
    const cleanup = async (): Promise<void> => {
      await journal.stop();
      await rm(directory, { recursive: true });
    };
    return { journal, clock, cleanup };
  });
}
