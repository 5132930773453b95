import { describe, expect, test } from "vitest";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { clientContract } from "../contract/client.ts";
import { FakeAgent } from "../fakes/agent.ts";
import { mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";

describe.skipIf(mosquittoMissing)(
  `pipit/client on mosquitto${mosquittoMissing ? ` (${mosquittoMissing})` : ""}`,
  () => {
    clientContract("MQTT 5", async () => {
      const broker = await startMosquitto();
      return { port: broker.port, protocol: 5, stop: () => broker.stop() };
    });

    test("gets its answer although the broker is killed and forgets everything", async () => {
      const broker = await startMosquitto();
      const agent = new FakeAgent(broker.url, "board");
      const client = createPipitClient({ url: broker.url, device: "board", backoff: { minMs: 5, maxMs: 50 } });
      try {
        await agent.start();
        const answer = client.ask("Do you still know?");
        await agent.asked.take();
        await broker.kill();
        await broker.start();
        const again = await agent.asked.take();
        await agent.answer(again, { text: "You have asked again." });
        expect((await answer).text).toBe("You have asked again.");
      } finally {
        await client.close();
        await agent.stop();
        await broker.stop();
      }
    });
  },
);
