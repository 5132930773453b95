// The whole agent on a board too small for a generative model: none configured, a memory group of 256 MiB.
import { startAgent } from "../fixtures/agent.ts";
import { agentMemory } from "../fixtures/agent-memory.ts";
import { underLimit, whyNoGroups } from "../fixtures/control-group.ts";
import { homeIntents } from "../fixtures/home-intents.ts";
import { median, type Row } from "./bench.ts";

const MIB = 1024 * 1024;
const LIMIT_MIB = 256;

export async function smallBoardRows(report: (row: Row) => void): Promise<void> {
  const name = `encoder alone in ${LIMIT_MIB} MiB`;
  const why = whyNoGroups();
  if (why !== undefined) return report({ case: name, measured: NaN, unit: "", note: `not measured: ${why}` });
  const dev = homeIntents("dev");
  const set = {
    "model.name": "none",
    "classify.labels": JSON.stringify([...new Set(dev.map(({ label }) => label))]),
    "classify.examples": JSON.stringify(homeIntents("examples")),
  };
  await underLimit({ kind: "memory", bytes: LIMIT_MIB * MIB }, [], async (group) => {
    const agent = await startAgent({ set, group, ready: "encoders" });
    try {
      const waits: number[] = [];
      let [right, answered] = [0, 0];
      for (const { text, label } of dev) {
        const { reply, totalMs } = await agent.ask({ text }, "classify");
        waits.push(totalMs);
        if (reply.status === "ok") answered += 1;
        if (reply.label === label) right += 1;
      }
      const { rssBytes, pssBytes } = agentMemory(agent.process.pid ?? 0);
      const { engine_deaths: deaths } = (await agent.state()) as { engine_deaths: number };
      const parts = "daemon, broker and encoder, 64 examples learnt";
      report({ case: `${name}: RSS of the whole agent`, measured: rssBytes / MIB, unit: "MiB", note: parts });
      report({ case: `${name}: PSS`, measured: pssBytes / MIB, unit: "MiB", target: `<= ${LIMIT_MIB}` });
      report({ case: `${name}: texts without a label`, measured: dev.length - answered, unit: "", target: "<= 0" });
      report({ case: `${name}: accuracy`, measured: right / dev.length, unit: "", target: ">= 0.95" });
      report({ case: `${name}: p50 over MQTT`, measured: median(waits), unit: "ms" });
      report({ case: `${name}: deaths of the engine`, measured: deaths, unit: "", target: "<= 0" });
    } finally {
      await agent.stop();
    }
  });
}
