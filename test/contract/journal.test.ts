import { MemoryJournal } from "../../src/journal/memory-journal.ts";
import { FakeClock } from "../fakes/clock.ts";
import { journalContract } from "./journal.ts";

journalContract("the memory journal", (retention) => {
  const clock = new FakeClock();
  const journal = new MemoryJournal({ clock, retention });
  return Promise.resolve({ journal, clock, cleanup: () => journal.stop() });
});
