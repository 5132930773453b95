// The broker goes away: in order, keeping its state, and by SIGKILL, losing what it had not saved.
import { expect, test } from "vitest";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { leaveFigures, sized } from "../fixtures/figures.ts";
import { DEVICE } from "./agent.ts";
import { expectNothingLost, times } from "./expectations.ts";
import { chaos, delivered, openScene, pause, progress, settled, within } from "./scene.ts";

chaos("the broker", () => {
  test("restarts in order: every question is answered once", { timeout: sized(300_000, 3_600_000) }, async () => {
    const restarts = sized(10, 50);
    const backMs: number[] = [];
    const scene = await openScene();
    const { asker, mosquitto, random } = scene;
    let over = false;
    const asking = asker.askUntil(() => over, 40);
    for (let restart = 0; restart < restarts; restart++) {
      await pause(300 + random.below(700));
      await mosquitto.halt();
      await pause(random.below(500));
      const online = asker.nextOnline();
      await mosquitto.start();
      const startedMs = performance.now();
      backMs.push((await within(70_000, "the agent online again", online)) - startedMs);
      progress("broker, SIGTERM", restart + 1, restarts, `${asker.ledger.answered} answers`);
    }
    over = true;
    await within(120_000, "the last question asked", asking);
    const tally = await settled(scene, 90_000);
    leaveFigures(
      "broker",
      "stand-in",
      {
        "SIGTERM restarts": restarts,
        ...delivered(tally),
        ...times("agent back after the broker", backMs),
      },
      {
        "agent back after the broker, median ms": "<= 5000",
        "agent back after the broker, worst ms": "<= 60000",
      },
    );
    expectNothingLost(tally);
  });

  test("is killed: nothing is lost that the client module asks", { timeout: sized(400_000, 3_600_000) }, async () => {
    const kills = sized(10, 50);
    const { mosquitto, random, asker } = await openScene();
    const client = createPipitClient({
      url: mosquitto.url,
      device: DEVICE,
      repeatAfterMs: 2_000,
      backoff: { minMs: 100, maxMs: 2_000 },
    });
    let asked = 0;
    let over = false;
    const answers = new Map<number, string>();
    const worker = async (): Promise<void> => {
      while (!over) {
        const index = asked++;
        const { text } = await client.ask(`Question ${index}`, { deadlineMs: 600_000 });
        answers.set(index, text ?? "");
      }
    };
    const asking = Promise.all(Array.from({ length: 20 }, worker));
    const backMs: number[] = [];
    for (let kill = 0; kill < kills; kill++) {
      await pause(300 + random.below(700));
      await mosquitto.kill();
      await pause(random.below(300));
      const online = asker.nextOnline();
      await mosquitto.start();
      const startedMs = performance.now();
      // The next kill may hit an agent that is still away.
      if (random.chance(0.5)) backMs.push((await within(70_000, "the agent online again", online)) - startedMs);
      progress("broker, SIGKILL", kill + 1, kills, `${answers.size} answers`);
    }
    over = true;
    await within(300_000, "the last answer", asking);
    await client.close();
    const good = [...answers.values()].filter((text) => text.startsWith("Answer ")).length;
    leaveFigures("broker", "stand-in", {
      SIGKILLs: kills,
      asked,
      answered: good,
      lost: asked - good,
      ...times("agent back after the broker", backMs),
    });
    expect(good).toBe(asked);
  });
});
