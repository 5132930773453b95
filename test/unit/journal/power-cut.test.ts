// The power goes at every moment of recorded runs, and in each of them the unsynced survives in part.
// PIPIT_POWER_CUTS multiplies the number of states.
import { describe, expect, test } from "vitest";
import { leaveFigures } from "../../fixtures/figures.ts";
import { Random } from "../../fakes/random.ts";
import type { SimDisk } from "../../fakes/sim-disk.ts";
import { SimDisk as Disk } from "../../fakes/sim-disk.ts";
import { JournalRun } from "./journal-run.ts";

const STATES = 5_000 * Number(process.env["PIPIT_POWER_CUTS"] ?? 1);
/** Of the unsynced sectors, sizes and names: none, all, half, few, most. */
const SHARES = [0, 1, 0.5, 0.5, 0.1, 0.9];

/** Opens the disk after each operation of the run's log in every way; returns how many disks that were. */
async function cutEverywhere(run: JournalRun, from: number, random: Random, deeper?: (disk: SimDisk) => Promise<void>) {
  const cuts = run.disk.powerCuts();
  let states = 0;
  while (cuts.forward()) {
    if (cuts.done <= from) continue;
    for (const share of SHARES) {
      const disk = cuts.cut(share, random);
      const after = new JournalRun(disk, random);
      const recovered = await after.journal.start();
      run.verify(after.journal, recovered, cuts.done);
      await after.journal.stop();
      states += 1;
      if (deeper !== undefined && random.chance(0.01)) await deeper(cuts.cut(share, random));
    }
  }
  return states;
}

describe("a power cut at any moment", () => {
  test(
    "keeps every record whose promise resolved and invents none, in at least 5,000 states of the disk",
    { timeout: 600_000 },
    async () => {
      let states = 0;
      let dropped = 0;
      let written = 0;
      for (let seed = 1; states < STATES; seed++) {
        const random = new Random(seed);
        const run = new JournalRun(new Disk(), random);
        await run.start();
        for (let step = 1; step <= 150; step++) {
          await run.step();
          if (random.chance(0.05)) await run.killAndRestart();
          if (random.chance(0.03)) await run.stopAndRestart();
        }
        expect(run.rejections).toEqual([]);
        written += run.lives.size;
        dropped += run.disk.operations.filter(({ kind }) => kind === "unlink").length;

        // A second cut, while the journal recovers from the first and goes on.
        const deeper = async (disk: SimDisk): Promise<void> => {
          const second = new JournalRun(disk, random, "second-");
          await second.start();
          for (let step = 0; step < 3; step++) await second.step();
          states += await cutEverywhere(second, 0, random);
        };
        states += await cutEverywhere(run, 0, random, deeper);
      }
      leaveFigures("power", "none", {
        "questions written": written,
        "segments dropped": dropped,
        "states of the disk opened": states,
        "promises broken": 0,
      });
      expect(dropped).toBeGreaterThan(5);
      expect(states).toBeGreaterThanOrEqual(STATES);
    },
  );
});
