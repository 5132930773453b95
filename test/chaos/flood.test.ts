// Ten thousand questions at once: each is answered or refused, the refusals come soon, memory stays bounded.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { leaveFigures } from "../fixtures/figures.ts";
import type { ChaosAgent } from "./agent.ts";
import { chaos, delivered, openScene, settled, within } from "./scene.ts";

const QUESTIONS = 10_000;
const MIB = 2 ** 20;

chaos("a flood", () => {
  test("of 10,000 questions: each is answered, busy or expired, in bounded memory", { timeout: 400_000 }, async () => {
    const scene = await openScene({ env: { PIPIT_ANSWER_DEADLINE_MS: "60000" } });
    const { asker, agent } = scene;
    for (let index = 0; index < 100; index++) await asker.ask();
    await within(30_000, "the warm-up", asker.ledger.whenOutstanding(0));
    const before = rssBytes(agent);
    let most = before;
    const watch = setInterval(() => (most = Math.max(most, rssBytes(agent))), 50);
    const startedMs = performance.now();
    const busy = asker.ledger.whenReplied("busy").then(() => performance.now() - startedMs);
    await Promise.all(Array.from({ length: QUESTIONS }, () => asker.ask()));
    const askedMs = performance.now() - startedMs;
    const tally = await settled(scene, 300_000);
    const allMs = performance.now() - startedMs - 1_000;
    clearInterval(watch);
    const firstBusyMs = Math.round(await within(60_000, "the first busy", busy));
    const growthMib = (most - before) / MIB;
    leaveFigures(
      "flood",
      "stand-in",
      {
        ...delivered(tally),
        "taken by the broker after, ms": Math.round(askedMs),
        "all replies after, ms": Math.round(allMs),
        "first busy after, ms": firstBusyMs,
        "RSS growth, MiB": Number(growthMib.toFixed(1)),
      },
      { "first busy after, ms": "<= 1000", "RSS growth, MiB": "<= 32" },
    );
    expect(tally.lost).toEqual([]);
    expect(tally.doubled).toEqual([]);
    expect(Object.keys(tally.byStatus).filter((status) => !["ok", "busy", "expired"].includes(status))).toEqual([]);
    expect(growthMib).toBeLessThanOrEqual(32);
  });
});

function rssBytes({ pid }: ChaosAgent): number {
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
