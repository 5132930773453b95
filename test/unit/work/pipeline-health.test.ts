import { expect, test } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import { MemoryJournal } from "../../../src/journal/memory-journal.ts";
import { PipelineHealth } from "../../../src/work/pipeline-health.ts";
import { AgentUnderTest, drain } from "../../fixtures/pipeline-agent.ts";

const healthOf = ({ pipeline, outbox, clock }: AgentUnderTest) => new PipelineHealth(pipeline, outbox, clock);

test("owes nothing at rest, while an answer is written in time, and while paused", async () => {
  const agent = await AgentUnderTest.started();
  const room = healthOf(agent);
  expect(room.health()).toEqual({ steps: 0 });
  agent.engine.beforePiece = () => new Promise(() => {});
  await agent.ask("a");
  await drain();
  expect(room.health()).toEqual({ steps: 0 });
  agent.pipeline.pause();
  await agent.ask("b");
  expect(room.health()).toEqual({ steps: 0 });
});

test("counts answers and refusals as steps", async () => {
  const agent = await AgentUnderTest.started();
  await agent.ask("a");
  await agent.ask("{");
  await drain();
  expect(healthOf(agent).health().steps).toBeGreaterThanOrEqual(2);
});

test("owes the end of a question that is past its deadline, and no answer to others makes up for it", async () => {
  const agent = await AgentUnderTest.started({ sequences: 2 });
  const room = healthOf(agent);
  // A model that ignores being aborted.
  agent.engine.generate = async function* () {
    await new Promise(() => {});
    yield { kind: "text", text: "" };
  };
  await agent.ask({ text: "a", id: "stuck", deadline_ms: 1000 });
  await drain();
  agent.clock.advance(1001);
  await drain();
  const before = room.health();
  expect(before.doing?.what).toMatch(/stuck/);
  await agent.ask("{");
  expect(room.health()).toEqual(before);
});

test("a full disk is no standstill: each attempt to keep the reply is a step", async () => {
  class FullJournal extends MemoryJournal {
    override answer(): Promise<void> {
      return Promise.reject(new PipitError("transient", "journal_unavailable", "no space left"));
    }
  }
  const agent = await AgentUnderTest.started({ journal: (clock) => new FullJournal({ clock }) });
  await agent.ask({ text: "a", deadline_ms: 1000 });
  await drain();
  agent.clock.advance(1001);
  await drain();
  const steps: number[] = [];
  for (let second = 0; second < 3; second++) {
    agent.clock.advance(1000);
    await drain();
    steps.push(healthOf(agent).health().steps);
  }
  expect(new Set(steps).size).toBe(3);
});
