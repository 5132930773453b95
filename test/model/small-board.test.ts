// Boards too small for a generative model, or just large enough for both: the agent in memory groups of 256 and 384 MiB.
import { describe, expect, it } from "vitest";
import { type Agent, startAgent } from "../fixtures/agent.ts";
import { agentMemory } from "../fixtures/agent-memory.ts";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { miniLm, smolLm2, WHY_NO_ENCODER, WHY_SKIPPED } from "../fixtures/models.ts";

const MIB = 1024 * 1024;
const ENCODER = "all-minilm-l6-v2-q8_0";
const labels = ["light", "heating", "music"];
const why =
  (await miniLm()) === undefined ? WHY_NO_ENCODER : (await smolLm2()) === undefined ? WHY_SKIPPED : whyNoGroups();
if (why !== undefined) console.warn(`the tests of small boards are skipped: ${why}`);

interface Models {
  model: { state: string };
  encoders: { name: string; state: string }[];
  engine_deaths: number;
}

/** The agent with its settings as they are, but for `set`, in a group of so much memory. */
async function inGroup(
  limitMib: number,
  set: Record<string, string>,
  use: (agent: Agent) => Promise<void>,
): Promise<void> {
  await underLimit({ kind: "memory", bytes: limitMib * MIB }, [], async (group) => {
    const agent = await startAgent({ group, set, ready: "encoders" });
    try {
      await use(agent);
    } finally {
      expect(await agent.stop()).toBe(0);
    }
  });
}

/** What the agent says of its models once it has decided on the generative one. */
async function decided(agent: Agent): Promise<Models> {
  let state = (await agent.lastState()) as unknown as Models;
  while (state.model.state === "loading") state = (await agent.state()) as unknown as Models;
  return state;
}

async function expectLabels(agent: Agent, expected: object): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) {
    const { reply } = await agent.ask({ text: `It is too dark in room ${turn}.`, labels }, "classify");
    expect(reply).toMatchObject({ status: "ok", ...expected });
  }
}

describe.skipIf(why !== undefined)("on a small board", () => {
  it.each([
    ["none is configured", { "model.name": "none" }, "no model is wanted"],
    ["the default settings want one that does not fit", {}, "does not fit"],
  ])("of 256 MiB the encoder alone gives labels where %s, and says so to those who ask", async (_, set, reason) => {
    await inGroup(256, set, async (agent) => {
      await expectLabels(agent, { by: "examples", model: ENCODER });
      const { reply } = await agent.ask({ text: "Which day comes after Monday?" });
      expect(reply.error).toMatchObject({ code: "model_unavailable" });
      expect(reply.error?.message).toContain(reason);
      expect(await decided(agent)).toMatchObject({
        model: { state: "unloaded" },
        encoders: [{ name: ENCODER, state: "ready" }],
        engine_deaths: 0,
      });
      expect(agentMemory(agent.process.pid ?? 0).pssBytes).toBeLessThan(256 * MIB);
    });
  });

  it("of 384 MiB both models stay, with a plan that fits", async () => {
    await inGroup(384, {}, async (agent) => {
      await decided(agent);
      await expectLabels(agent, {});
      const { reply } = await agent.ask({ text: "Which day comes after Monday?", max_tokens: 20 });
      expect(reply).toMatchObject({ status: "ok", plan: { sequences: 1 } });
      expect(await decided(agent)).toMatchObject({
        model: { state: "ready" },
        encoders: [{ name: ENCODER, state: "ready" }],
        engine_deaths: 0,
      });
    });
  });
});
