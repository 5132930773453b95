// The agent is killed (SIGKILL) at random instants while mosquitto keeps its session.
import { expect, test } from "vitest";
import { leaveFigures, sized } from "../fixtures/figures.ts";
import { expectNothingLost, times } from "./expectations.ts";
import { chaos, delivered, openScene, pause, progress, settled, within } from "./scene.ts";

/** More than the agent's window of 8 and less than its queue of 64. */
const OUTSTANDING = 40;

chaos("SIGKILL of the agent", () => {
  test("at random instants: every question is answered once", { timeout: sized(300_000, 3_600_000) }, async () => {
    const kills = sized(40, 300);
    const questions = sized(1_500, 10_000);
    const scene = await openScene();
    const { agent, asker, random } = scene;
    let over = false;
    const asking = asker.askUntil(() => over && asker.ledger.asked >= questions, OUTSTANDING);
    const backMs: number[] = [];
    const answeringMs: number[] = [];
    for (let kill = 0; kill < kills; kill++) {
      await pause(random.below(1_200));
      await agent.kill();
      const online = asker.nextOnline();
      const startedMs = performance.now();
      agent.start();
      progress("kill", kill + 1, kills, `${asker.ledger.answered} answers`);
      // A third of the kills hits an agent that is still starting.
      if (random.chance(0.33)) continue;
      backMs.push((await within(30_000, "the agent online again", online)) - startedMs);
      await within(30_000, "an answer", asker.ledger.whenAnswered(asker.ledger.answered + 1));
      answeringMs.push(performance.now() - startedMs);
    }
    over = true;
    await within(sized(120_000, 600_000), "the last question asked", asking);
    const tally = await settled(scene, 60_000);
    leaveFigures(
      "kill",
      "stand-in",
      {
        kills,
        ...delivered(tally),
        ...times("back on the bus", backMs),
        ...times("first answer after the start", answeringMs),
      },
      { "back on the bus, median ms": "<= 3000", "first answer after the start, median ms": "<= 3000" },
    );
    expectNothingLost(tally);
    expect(tally.repeats).toBeLessThanOrEqual(kills * 8);
  });
});
