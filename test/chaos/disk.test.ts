// The disk of the state directory is full for a while. Every single write that may fail is in
// test/unit/journal/disk-faults.test.ts.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { leaveFigures } from "../fixtures/figures.ts";
import { mosquittoMissing } from "../fixtures/mosquitto.ts";
import { expectNothingLost } from "./expectations.ts";
import { chaos, delivered, openScene, pause, settled, within } from "./scene.ts";

/** A small tmpfs, which only root may mount. */
const missing = mosquittoMissing ?? (process.getuid?.() === 0 ? undefined : "only root may mount a disk to be filled");

chaos(
  "a full disk",
  () => {
    test(
      "no crash, nothing acknowledged and lost, and on again when there is space",
      { timeout: 200_000 },
      async () => {
        // Room for the journal of all that is asked here (some 500 kB), so that only the filler makes it full.
        const disk = mountDisk("2m");
        const scene = await openScene({ stateDir: disk });
        const { asker, agent } = scene;
        await asker.askAll(50, 5);
        const { pid } = agent;
        fill(disk);
        // What fits into the pages the journal has already is still taken; then the broker keeps the rest.
        const asking = asker.askAll(400, 40);
        await pause(8_000);
        const stuck = asker.ledger.outstanding;
        expect(stuck).toBeGreaterThan(0);
        expect(agent.pid).toBe(pid);
        expect(agent.running).toBe(true);
        // The log may lie on the same disk.
        const complaints = agent.log.split("\n").filter((line) => /"level":[45]0/.test(line));
        expect(complaints.length).toBeLessThan(6);
        expect(complaints.join("\n")).not.toContain('"stack"');
        rmSync(join(disk, "filler"));
        const freedMs = performance.now();
        await within(30_000, "the first answer after space came back", asker.ledger.whenOutstanding(stuck - 1));
        const backMs = Math.round(performance.now() - freedMs);
        await within(60_000, "the last question asked", asking);
        const tally = await settled(scene, 60_000);
        leaveFigures(
          "disk",
          "stand-in",
          {
            ...delivered(tally),
            "waiting while full": stuck,
            "first answer after space, ms": backMs,
          },
          { "first answer after space, ms": "<= 5000" },
        );
        expectNothingLost(tally);
      },
    );

    test("smaller than the journal's bound: never full, however much is asked", { timeout: 200_000 }, async () => {
      const disk = mountDisk("1m");
      const scene = await openScene({ stateDir: disk, env: { CHAOS_ANSWER_MS: "5" } });
      await within(120_000, "the last question asked", scene.asker.askAll(1_500, 40));
      const tally = await settled(scene, 60_000);
      const { blocks, bavail, bsize } = statfsSync(disk);
      const usedKiB = ((blocks - bavail) * bsize) / 1024;
      leaveFigures(
        "disk",
        "stand-in",
        { ...delivered(tally), "KiB of the disk": 1024, "KiB used": usedKiB },
        { "KiB used": "<= 600" },
      );
      expectNothingLost(tally);
      expect(scene.agent.log).not.toContain("takes writes again");
      expect(scene.agent.log).toContain("little room");
      // Half for the journal, and some pages for what else is in the directory.
      expect(usedKiB).toBeLessThanOrEqual(600);
    });
  },
  missing,
);

/** Gone when the test has finished, after what was started later. */
function mountDisk(size: string): string {
  const disk = mkdtempSync(join(tmpdir(), "pipit-chaos-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk]);
  onTestFinished(() => {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  });
  return disk;
}

/** Takes every free byte of the disk. */
function fill(disk: string): void {
  for (let bytes = 1024 * 1024; bytes >= 512; bytes = Math.floor(bytes / 2)) {
    try {
      for (;;) writeFileSync(join(disk, "filler"), new Uint8Array(bytes), { flag: "a" });
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
    }
  }
}
