// Boards too small for a generative model: the agent in a memory group of 256 MiB.
import { describe, expect, it } from "vitest";
import { type Agent, startAgent } from "../fixtures/agent.ts";
import { agentMemory } from "../fixtures/agent-memory.ts";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { miniLm, WHY_NO_ENCODER } from "../fixtures/models.ts";

const MIB = 1024 * 1024;
const labels = ["light", "heating", "music"];
const why = (await miniLm()) === undefined ? WHY_NO_ENCODER : whyNoGroups();
if (why !== undefined) console.warn(`the test of a small board is skipped: ${why}`);

async function inSmallGroup(set: Record<string, string>, use: (agent: Agent) => Promise<void>): Promise<void> {
  await underLimit({ kind: "memory", bytes: 256 * MIB }, [], async (group) => {
    const agent = await startAgent({ group, set, ready: "encoders" });
    try {
      await use(agent);
    } finally {
      expect(await agent.stop()).toBe(0);
    }
  });
}

describe.skipIf(why !== undefined)("in 256 MiB", () => {
  it("the encoder alone gives labels, and questions are refused with the reason", async () => {
    await inSmallGroup({ "model.name": "none" }, async (agent) => {
      for (let turn = 0; turn < 20; turn += 1) {
        const { reply } = await agent.ask({ text: `It is too dark in room ${turn}.`, labels }, "classify");
        expect(reply).toMatchObject({ status: "ok", by: "examples", model: "all-minilm-l6-v2-q8_0" });
      }
      const { reply } = await agent.ask({ text: "Which day comes after Monday?" });
      expect(reply).toMatchObject({ error: { code: "model_unavailable" } });
      expect(await agent.state()).toMatchObject({
        model: { state: "unloaded" },
        encoders: [{ name: "all-minilm-l6-v2-q8_0", state: "ready" }],
        engine_deaths: 0,
      });
      expect(agentMemory(agent.process.pid ?? 0).pssBytes).toBeLessThan(256 * MIB);
    });
  });
});
