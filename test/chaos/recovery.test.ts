// How soon the whole agent, with the real model, is back after a SIGKILL in the middle of answers.
import { test } from "vitest";
import { leaveFigures, sized } from "../fixtures/figures.ts";
import { expectNothingLost, times } from "./expectations.ts";
import { chaos, delivered, openScene, pause, progress, settled, within } from "./scene.ts";

chaos("recovery after SIGKILL", () => {
  test("in the middle of answers: every question is answered once, and soon", { timeout: 600_000 }, async () => {
    const kills = sized(4, 30);
    const scene = await openScene({ engine: "real", env: { PIPIT_MODEL_ENCODER: "none" } });
    const { agent, asker, random } = scene;
    await asker.ask("Say hello.", { max_tokens: 8 });
    await within(60_000, "the first answer", asker.ledger.whenOutstanding(0));
    const [backMs, answeringMs, loadMs]: [number[], number[], number[]] = [[], [], []];
    for (let kill = 0; kill < kills; kill++) {
      let killed = false;
      const asking = asker.askUntil(() => killed, 2, "Tell me about the sea.", { max_tokens: 24 });
      await pause(random.below(500));
      await agent.kill();
      killed = true;
      const online = asker.nextOnline();
      const ready = asker.nextState(({ model }) => model.state === "ready");
      const startedMs = performance.now();
      agent.start();
      backMs.push((await within(30_000, "the agent online again", online)) - startedMs);
      await within(60_000, "an answer", asker.ledger.whenAnswered(asker.ledger.answered + 1));
      answeringMs.push(performance.now() - startedMs);
      loadMs.push((await within(60_000, "the model", ready)).model.load_ms ?? NaN);
      await within(120_000, "the last question asked", asking);
      await within(120_000, "the other answers", asker.ledger.whenOutstanding(0));
      progress("recovery", kill + 1, kills);
    }
    const tally = await settled(scene, 60_000);
    const overMs = answeringMs.map((ms, index) => ms - (loadMs[index] ?? NaN));
    leaveFigures(
      "recovery",
      "real model",
      {
        kills,
        ...delivered(tally),
        ...times("back on the bus", backMs),
        ...times("model load", loadMs),
        ...times("first answer after the start", answeringMs),
        ...times("the same without the model load", overMs),
      },
      { "back on the bus, median ms": "<= 3000", "the same without the model load, median ms": "<= 3000" },
    );
    expectNothingLost(tally);
  });
});
