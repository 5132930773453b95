// A broker that forgets, ten thousand questions at once, a disk that fills up: what is promised then, and what is not.
// The engine is a stand-in; broker, link, journal, pipeline and the client module are the real ones.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { mosquittoMissing } from "../fixtures/mosquitto.ts";
import { DEVICE } from "./agent.ts";
import type { ChaosAgent } from "./agent.ts";
import { inScene, pause, report, settled, sized, within } from "./run.ts";

describe.skipIf(mosquittoMissing)("in hard times", () => {
  test("a broker that is killed loses nothing that the client module asks", { timeout: 3_600_000 }, async () => {
    const kills = sized(10, 50);
    const questions = kills * 40;
    await inScene({}, async ({ mosquitto, random }) => {
      const backoff = { minMs: 100, maxMs: 2_000 };
      const client = createPipitClient({ url: mosquitto.url, device: DEVICE, repeatAfterMs: 2_000, backoff });
      let next = 0;
      const answers = new Map<number, string>();
      const worker = async (): Promise<void> => {
        for (let index = next++; index < questions; index = next++) {
          const { text } = await client.ask(`Question ${index}`, { deadlineMs: 600_000 });
          answers.set(index, text ?? "");
        }
      };
      const asking = Promise.all(Array.from({ length: 20 }, worker));
      for (let kill = 0; kill < kills; kill++) {
        await pause(300 + random.below(700));
        await mosquitto.kill();
        await pause(random.below(300));
        await mosquitto.start();
      }
      await within(300_000, "the last answer", asking);
      await client.close();
      report("broker SIGKILL, client module", { kills, asked: questions, answered: answers.size });
      expect(answers.size).toBe(questions);
      expect([...answers.values()].every((text) => text.startsWith("Answer "))).toBe(true);
    });
  });

  // Fails for now: mosquitto 2.0.11 sends beyond the receive maximum in a flood, the link then stops reading, and refusals
  // that wait for their own PUBACK wait behind what it does not read.
  test(
    "ten thousand questions at once are each answered or refused, in bounded memory",
    { timeout: 600_000 },
    async () => {
      const questions = 10_000;
      await inScene({}, async (scene) => {
        const { asker, agent } = scene;
        for (let index = 0; index < 100; index++) await asker.ask();
        await within(30_000, "the warm-up", asker.ledger.whenOutstanding(0));
        const before = rssBytes(agent);
        let most = before;
        const watch = setInterval(() => (most = Math.max(most, rssBytes(agent))), 50);
        const startedMs = performance.now();
        const busy = asker.ledger.whenReplied("busy").then(() => performance.now() - startedMs);
        await Promise.all(Array.from({ length: questions }, () => asker.ask()));
        const tally = await settled(scene, 30_000);
        clearInterval(watch);
        const firstBusyMs = Math.round(await within(1_000, "the first busy", busy));
        const growthMib = (most - before) / 2 ** 20;
        const { asked, answered, byStatus } = tally;
        const grown = Number(growthMib.toFixed(1));
        report("10,000 at once", {
          asked,
          answered,
          by_status: byStatus,
          first_busy_ms: firstBusyMs,
          rss_growth_mib: grown,
        });
        expect(tally.lost).toEqual([]);
        expect(tally.doubled).toEqual([]);
        expect(Object.keys(byStatus).filter((status) => !["ok", "busy", "expired"].includes(status))).toEqual([]);
        expect(growthMib).toBeLessThanOrEqual(32);
        expect(firstBusyMs).toBeLessThanOrEqual(1_000);
      });
    },
  );

  // A disk of its own to be filled: a small tmpfs, which only root may mount.
  test.skipIf(process.getuid?.() !== 0)(
    "a full disk: no crash, nothing lost, and on again",
    { timeout: 120_000 },
    async () => {
      const disk = mkdtempSync(join(tmpdir(), "pipit-chaos-disk-"));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", disk]);
      try {
        await inScene({ stateDir: disk }, async (scene) => {
          const { asker, agent } = scene;
          await asker.askAll(50, 5);
          const { pid } = agent;
          fill(disk);
          // What fits into the pages the journal has already is still taken; then the broker keeps the rest.
          const asking = asker.askAll(400, 100);
          await pause(8_000);
          const stuck = asker.ledger.outstanding;
          expect(stuck).toBeGreaterThan(0);
          expect(agent.pid).toBe(pid);
          expect(agent.running).toBe(true);
          rmSync(join(disk, "filler"));
          const freedMs = performance.now();
          await within(30_000, "the first answer after space came back", asker.ledger.whenOutstanding(stuck - 1));
          const backMs = Math.round(performance.now() - freedMs);
          await within(60_000, "the last question asked", asking);
          const tally = await settled(scene, 60_000);
          report("disk full", {
            asked: tally.asked,
            lost: tally.lost.length,
            stuck,
            back_ms: backMs,
            by_status: tally.byStatus,
          });
          expect(tally.lost).toEqual([]);
          expect(tally.doubled).toEqual([]);
          expect(backMs).toBeLessThanOrEqual(6_000);
        });
      } finally {
        execFileSync("umount", [disk]);
        rmSync(disk, { recursive: true });
      }
    },
  );
});

function rssBytes({ pid }: ChaosAgent): number {
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** Takes every free byte of the disk. */
function fill(disk: string): void {
  for (let bytes = 512 * 1024; bytes >= 512; bytes = Math.floor(bytes / 2)) {
    try {
      for (;;) writeFileSync(join(disk, "filler"), new Uint8Array(bytes), { flag: "a" });
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
    }
  }
  expect(readdirSync(disk)).toContain("filler");
  expect(statSync(join(disk, "filler")).size).toBeGreaterThan(0);
}
