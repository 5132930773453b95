// The network between agent and broker cuts, stalls, slices and delays: the seven toxics of the proxy in turn.
import { test } from "vitest";
import type { Random } from "../fakes/random.ts";
import { leaveFigures, sized } from "../fixtures/figures.ts";
import { expectNothingLost, times } from "./expectations.ts";
import type { Toxic } from "./proxy.ts";
import { chaos, delivered, openScene, pause, progress, settled, within } from "./scene.ts";

chaos("a bad network", () => {
  test(
    "cuts, stalls, slices and delays: every question is answered once",
    { timeout: sized(300_000, 3_600_000) },
    async () => {
      const cuts = sized(30, 100);
      const scene = await openScene({ env: { PIPIT_BROKER_KEEPALIVE_S: "5" } });
      const { asker, proxy, random } = scene;
      const answeringMs: number[] = [];
      let over = false;
      const asking = asker.askUntil(() => over, 40);
      for (let cut = 0; cut < cuts; cut++) {
        const { toxics, to, ms } = trouble(cut, random);
        await proxy.poison(toxics, to);
        await pause(ms);
        await proxy.poison([]);
        const clearMs = performance.now();
        // Else the next trouble would find the agent still away from the last one.
        await within(90_000, "an answer after the trouble", asker.ledger.whenAnswered(asker.ledger.answered + 1));
        answeringMs.push(performance.now() - clearMs);
        await pause(random.below(300));
        progress("link", cut + 1, cuts, `${asker.ledger.answered} answers`);
      }
      over = true;
      await within(180_000, "the last question asked", asking);
      const tally = await settled(scene, 90_000);
      leaveFigures("link", "stand-in", {
        troubles: cuts,
        ...delivered(tally),
        ...times("first answer after the trouble", answeringMs),
      });
      expectNothingLost(tally);
    },
  );
});

/** The times are short of what a keepalive would see, but for the half-open connection, which only a keepalive finds. */
function trouble(turn: number, random: Random): { toxics: Toxic[]; to: "all" | "present"; ms: number } {
  const ms = 200 + random.below(600);
  const all = (toxic: Toxic, forMs = ms) => ({ toxics: [toxic], to: "all" as const, ms: forMs });
  switch (turn % 8) {
    case 0:
      return all({ kind: "down" });
    case 1:
      return all({ kind: "latency", ms: 100 + random.below(200), jitterMs: 50 }, 2 * ms);
    case 2:
      return all({ kind: "slicer", bytes: 20, delayMs: 1 }, 2 * ms);
    case 3:
      return all({ kind: "reset_peer", ms: random.below(200) });
    case 4:
      return all({ kind: "limit_data", bytes: random.below(3_000) });
    case 5:
      return all({ kind: "timeout", ms: random.below(500) });
    case 6:
      return all({ kind: "bandwidth", bytesPerSecond: 5_000 }, 2 * ms);
    default:
      return { toxics: [{ kind: "timeout", ms: 0 }], to: "present", ms: 9_000 };
  }
}
