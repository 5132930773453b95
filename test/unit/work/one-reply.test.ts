// Every accepted question gets exactly one final reply, in whatever order questions arrive, are cancelled and run out of
// time, the model's process dies, the broker goes and comes, and the agent stops.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import type { OutgoingMessage } from "../../../src/core/message.ts";
import type { AcceptedQuestion, Clock } from "../../../src/core/ports.ts";
import { MemoryJournal } from "../../../src/journal/memory-journal.ts";
import { AgentUnderTest, drain, Gate } from "../../fixtures/pipeline-agent.ts";
import { bytes } from "../../fixtures/questions.ts";

type Event =
  | { kind: "ask"; id: number; deadlineMs: number; priority: number; stream: boolean }
  | { kind: "repeat"; nth: number }
  | { kind: "cancel"; id: number }
  | { kind: "pass" | "kill" | "pause" | "resume" | "down" | "up" }
  | { kind: "time"; ms: number };

const id = fc.nat({ max: 6 });
const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      id,
      deadlineMs: fc.integer({ min: 1, max: 5000 }),
      priority: fc.nat({ max: 9 }),
      stream: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("repeat" as const), nth: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), id }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom("pass", "pass", "kill", "pause", "resume", "down", "up") }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("time" as const), ms: fc.integer({ min: 1, max: 3000 }) }) },
);

test("every acknowledged question gets exactly one distinct final reply", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), async (events, sequences) => {
      const world = await World.with(sequences);
      for (const one of events) {
        world.happen(one);
        if (world.calm) await drain();
      }
      await world.end();
      world.check();
    }),
    { numRuns: 150 },
  );
});

class CountingJournal extends MemoryJournal {
  /** Correlation data of what was accepted. */
  readonly accepted = new Set<string>();
  /** How often each question was answered, by key. */
  readonly answers = new Map<string, number>();

  override accept(question: AcceptedQuestion): Promise<void> {
    this.accepted.add(new TextDecoder().decode(question.correlationData));
    return super.accept(question);
  }

  override answer(key: string, reply: OutgoingMessage): Promise<void> {
    this.answers.set(key, (this.answers.get(key) ?? 0) + 1);
    return super.answer(key, reply);
  }
}

class World {
  readonly agent: AgentUnderTest;
  readonly journal: CountingJournal;
  readonly gate = new Gate();
  /** Correlation data of questions whose PUBACK was given. */
  readonly acknowledged = new Set<string>();
  readonly asked: string[] = [];
  #up = true;
  #beat = 0;

  private constructor(agent: AgentUnderTest) {
    this.agent = agent;
    this.journal = agent.journal as CountingJournal;
    agent.engine.beforePiece = this.gate.enter;
    agent.onPublish = () =>
      this.#up ? Promise.resolve() : Promise.reject(new PipitError("transient", "link_down", "gone"));
  }

  static async with(sequences: number): Promise<World> {
    const journal = (clock: Clock) => new CountingJournal({ clock });
    return new World(await AgentUnderTest.started({ sequences, maxQuestions: 4, journal }));
  }

  /** Two of three events happen before the last one has been digested. */
  get calm(): boolean {
    this.#beat += 1;
    return this.#beat % 3 === 0;
  }

  happen(one: Event): void {
    const { agent } = this;
    switch (one.kind) {
      case "ask": {
        const { deadlineMs, priority, stream } = one;
        const payload = { text: `question ${this.asked.length}`, id: `${one.id}`, priority, stream };
        this.#ask(JSON.stringify({ ...payload, deadline_ms: deadlineMs }));
        break;
      }
      case "repeat":
        if (this.asked.length > 0) this.#ask(this.asked[one.nth % this.asked.length] ?? "");
        break;
      case "cancel":
        agent.pipeline.cancel(`${one.id}`);
        break;
      case "pass":
        this.gate.pass();
        break;
      case "kill":
        agent.engine.kill();
        break;
      case "pause":
        agent.pipeline.pause();
        break;
      case "resume":
        agent.pipeline.resumeWork();
        break;
      case "down":
        this.#up = false;
        break;
      case "up":
        this.#comeUp();
        break;
      case "time":
        agent.clock.advance(one.ms);
    }
  }

  /** The link is back, the agent stops in the middle of whatever it does, and time runs out. */
  async end(): Promise<void> {
    const { agent } = this;
    this.#comeUp();
    await drain();
    const stopped = agent.pipeline.stop(1000);
    this.gate.pass();
    await drain();
    agent.clock.advance(1000);
    await stopped;
    await agent.outbox.resend();
  }

  check(): void {
    const { agent, journal } = this;
    for (const name of this.acknowledged) {
      const replies = agent.published.filter(({ topic, correlationData }) => {
        return !topic.endsWith("/partial") && new TextDecoder().decode(correlationData) === name;
      });
      const texts = new Set(replies.map(({ payload }) => new TextDecoder().decode(payload)));
      const final = [...texts].filter((text) => !text.includes('"busy"'));
      // What was refused may be asked again, and was then refused again or taken.
      expect(texts.size).toBeGreaterThan(0);
      expect(final).toHaveLength(journal.accepted.has(name) ? 1 : 0);
    }
    expect([...journal.answers.values()].filter((times) => times !== 1)).toEqual([]);
    expect(journal.answers.size).toBe(journal.accepted.size);
    expect(agent.holds.ended).toBe(agent.holds.begun);
    const left = { timers: agent.clock.pending, idle: agent.pipeline.isIdle, unsettled: agent.outbox.length };
    expect(left).toEqual({ timers: 0, idle: true, unsettled: 0 });
  }

  #ask(payload: string): void {
    const known = this.asked.indexOf(payload);
    const name = `${known < 0 ? this.asked.push(payload) - 1 : known}`;
    this.agent.ask(payload, { correlationData: bytes(name) }).then(
      () => this.acknowledged.add(name),
      // No PUBACK: the broker keeps it.
      () => {},
    );
  }

  #comeUp(): void {
    this.#up = true;
    void this.agent.outbox.resend();
  }
}
