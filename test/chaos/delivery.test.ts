// Nothing lost, nothing answered twice: agent, network and broker die at random instants, and the ledger is compared.
// The engine is a stand-in (see stand-in-agent.mjs); broker, link, journal and pipeline are the real ones.
import { describe, expect, test } from "vitest";
import { mosquittoMissing } from "../fixtures/mosquitto.ts";
import type { Random } from "../fakes/random.ts";
import { quantile } from "../bench/bench.ts";
import type { Tally } from "./ledger.ts";
import type { Toxic } from "./proxy.ts";
import { inScene, pause, report, settled, sized, within } from "./run.ts";

/** More than the agent's window of 8 and less than its queue of 64. */
const OUTSTANDING = 40;

function expectNothingLost(tally: Tally, mostGivenUp = 0): void {
  expect(tally.lost).toEqual([]);
  expect(tally.doubled).toEqual([]);
  expect(tally.strange).toBe(0);
  const { ok = 0, failed = 0, ...others } = tally.byStatus;
  expect(others).toEqual({});
  expect(failed).toBeLessThanOrEqual(mostGivenUp);
  expect(ok + failed).toBe(tally.asked);
}

describe.skipIf(mosquittoMissing)("a question the broker has taken", () => {
  test("is answered once, however often the agent is killed", { timeout: 3_600_000 }, async () => {
    const kills = sized(40, 300);
    const questions = sized(1_500, 10_000);
    await inScene({}, async (scene) => {
      const { agent, asker, random } = scene;
      const asking = asker.askAll(questions, OUTSTANDING);
      const backMs: number[] = [];
      for (let kill = 0; kill < kills; kill++) {
        await pause(random.below(1_200));
        await agent.kill();
        const startedMs = performance.now();
        const online = asker.nextOnline();
        agent.start();
        // A third of the kills hits an agent that is still starting.
        if (random.chance(0.67)) backMs.push((await within(30_000, "the agent online again", online)) - startedMs);
      }
      await within(sized(120_000, 600_000), "the last question asked", asking);
      const tally = await settled(scene, 60_000);
      report("agent SIGKILL", { kills, ...figures(tally), ...backFigures(backMs) });
      // A question that two deaths have found at work counts as deadly, whatever the agent has died of.
      expectNothingLost(tally, Math.ceil(kills / 10));
      expect(tally.repeats).toBeLessThanOrEqual(kills * 8);
      expect(quantile(backMs, 0.5)).toBeLessThanOrEqual(3_000);
    });
  });

  test("is answered once over a network that cuts, stalls, slices and delays", { timeout: 3_600_000 }, async () => {
    const cuts = sized(30, 100);
    const env = { PIPIT_BROKER_KEEPALIVE_S: "5" };
    await inScene({ env }, async (scene) => {
      const { asker, proxy, random } = scene;
      const asking = asker.askAll(cuts * 20, OUTSTANDING);
      for (let cut = 0; cut < cuts; cut++) {
        const [toxics, to, ms] = trouble(cut, random);
        await proxy.poison(toxics, to);
        await pause(ms);
        await proxy.poison([]);
        await pause(300 + random.below(300));
      }
      await within(120_000, "the last question asked", asking);
      const tally = await settled(scene, 90_000);
      report("link toxics", { cuts, ...figures(tally) });
      expectNothingLost(tally);
    });
  });

  test("is answered once over orderly restarts of the broker", { timeout: 3_600_000 }, async () => {
    const restarts = sized(10, 50);
    const backMs: number[] = [];
    await inScene({}, async (scene) => {
      const { asker, mosquitto, random } = scene;
      const asking = asker.askAll(restarts * 40, OUTSTANDING);
      for (let restart = 0; restart < restarts; restart++) {
        await pause(300 + random.below(700));
        await mosquitto.halt();
        await pause(random.below(500));
        const online = asker.nextOnline();
        await mosquitto.start();
        const startedMs = performance.now();
        backMs.push((await within(70_000, "the agent online again", online)) - startedMs);
      }
      await within(120_000, "the last question asked", asking);
      const tally = await settled(scene, 90_000);
      report("broker SIGTERM", { restarts, ...figures(tally), ...backFigures(backMs) });
      expectNothingLost(tally);
    });
  });

  test("that ends the process every time is given up, and the others are answered", { timeout: 120_000 }, async () => {
    await inScene({}, async (scene) => {
      const { asker, agent } = scene;
      for (let index = 0; index < 5; index++) await asker.ask();
      await asker.ask("poison");
      for (let index = 0; index < 5; index++) await asker.ask();
      const before = agent.starts;
      while (asker.ledger.outstanding > 0 && agent.starts < before + 10) {
        await Promise.race([asker.ledger.whenOutstanding(0), pause(200)]);
        if (agent.running || asker.ledger.outstanding === 0) continue;
        agent.start();
      }
      const tally = await settled(scene, 30_000);
      report("poison question", { starts: agent.starts, ...figures(tally) });
      expect(tally.lost).toEqual([]);
      expect(tally.doubled).toEqual([]);
      expect(tally.byStatus).toEqual({ ok: 10, failed: 1 });
      // Two deaths, and one more when the process was gone before the first start was written.
      expect(agent.starts - before).toBeLessThanOrEqual(3);
    });
  });
});

/** One trouble after the other, each of the seven toxics in turn; the times are short of what a keepalive would see, or not. */
function trouble(turn: number, random: Random): [toxics: Toxic[], to: "all" | "present", ms: number] {
  const ms = 200 + random.below(600);
  switch (turn % 8) {
    case 0:
      return [[{ kind: "down" }], "all", ms];
    case 1:
      return [[{ kind: "latency", ms: 100 + random.below(200), jitterMs: 50 }], "all", 2 * ms];
    case 2:
      return [[{ kind: "slicer", bytes: 20, delayMs: 1 }], "all", 2 * ms];
    case 3:
      return [[{ kind: "reset_peer", ms: random.below(200) }], "all", ms];
    case 4:
      return [[{ kind: "limit_data", bytes: random.below(3_000) }], "all", ms];
    case 5:
      return [[{ kind: "timeout", ms: random.below(500) }], "all", ms];
    case 6:
      return [[{ kind: "bandwidth", bytesPerSecond: 5_000 }], "all", 2 * ms];
    default:
      // Half open: only the agent's own keepalive can find out.
      return [[{ kind: "timeout", ms: 0 }], "present", 9_000];
  }
}

function figures({ asked, answered, lost, doubled, repeats, byStatus }: Tally): object {
  return { asked, answered, lost: lost.length, doubled: doubled.length, repeats, by_status: byStatus };
}

/** From the start of the agent, or of the broker, until the agent is back on the bus. */
function backFigures(backMs: number[]): object {
  return { back_p50_ms: Math.round(quantile(backMs, 0.5)), back_max_ms: Math.round(Math.max(...backMs)) };
}
