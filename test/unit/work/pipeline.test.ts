import { describe, expect, test } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import type { AcceptedQuestion, Journal } from "../../../src/core/ports.ts";
import { MemoryJournal } from "../../../src/journal/memory-journal.ts";
import { AgentUnderTest, drain, Gate } from "../../fixtures/pipeline-agent.ts";
import { bytes, routeOf } from "../../fixtures/questions.ts";

const error = (code: string, message?: RegExp, id?: string) =>
  expect.objectContaining({
    ...(id !== undefined && { id }),
    status: "error",
    error: expect.objectContaining({ code, ...(message && { message: expect.stringMatching(message) }) }),
  });

/** A memory journal that claims to survive, as the file journal does. */
class DurableJournal extends MemoryJournal {
  override readonly durable = true as unknown as false;
}
const durable = (clock: ConstructorParameters<typeof MemoryJournal>[0]["clock"]): Journal =>
  new DurableJournal({ clock });

describe("a question", () => {
  test("is answered once, with what was measured and the plan", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "What is the capital of France?", id: "q" });
    await drain();
    expect(agent.replies).toEqual([
      {
        id: "q",
        status: "ok",
        task: "answer",
        text: "The capital is Paris.",
        finish: "stop",
        model: "smollm2",
        usage: { prompt_tokens: 7, cached_tokens: 0, completion_tokens: 4 },
        timing_ms: { queue: 0, prefill: 4, generate: 40, total: 0 },
        plan: expect.objectContaining({ threads: 2, reason: "calm" }),
      },
    ]);
    const idle = { waiting: 0, running: 0, refused: 0, paused: false };
    expect(agent.pipeline.status).toEqual({ ...idle, answered: 1, lastAnswerWallMs: agent.clock.wallMs() });
    expect(agent.holds).toEqual({ begun: 1, ended: 1 });
  });

  test("carries correlation data, content type and what is left of its expiry into the reply", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask("a", { correlationData: bytes("c"), expirySeconds: 30, responseTopic: "r" });
    await drain();
    agent.clock.advance(9_500);
    gate.open();
    await drain();
    expect(agent.published).toMatchObject([
      { topic: "r", correlationData: bytes("c"), contentType: "application/json", text: true, expirySeconds: 21 },
    ]);
  });

  test("that was retained is ignored", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("a", { retained: true });
    await drain();
    expect(agent.published).toEqual([]);
    expect(agent.engine.generated).toEqual([]);
  });

  test("that is bad is refused and acknowledged, and the next one is answered", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("{");
    await agent.ask("fine");
    await drain();
    expect(agent.replies).toEqual([error("bad_request", /not JSON/), expect.objectContaining({ status: "ok" })]);
    expect(agent.pipeline.status).toMatchObject({ answered: 1, refused: 1 });
  });

  test("is one of many: a flood of refusals is one line in ten seconds, with their number", async () => {
    const agent = await AgentUnderTest.started();
    for (let count = 0; count < 500; count++) await agent.ask("{");
    agent.clock.advance(10_000);
    await agent.ask("{");
    await drain();
    expect(agent.replies).toHaveLength(501);
    const told = agent.log.lines.filter(({ level }) => level === "info").map(({ fields }) => fields["refused"]);
    expect(told).toEqual([1, 500]);
  });

  test("with unknown fields is answered and they are named at debug level", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask({ text: "a", colour: 1 });
    await drain();
    expect(agent.replies).toMatchObject([{ status: "ok" }]);
    expect(agent.log.lines).toContainEqual(
      expect.objectContaining({ level: "debug", fields: { id: "made-1", fields: ["colour"] } }),
    );
  });

  test("with nowhere to be answered is acknowledged and said in the log", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("a", {}, routeOf({ replyTopic: "pipit/board/ask" }));
    expect(agent.published).toEqual([]);
    expect(agent.log.lines).toContainEqual(expect.objectContaining({ level: "warn" }));
  });

  test("whose prompt does not fit the context is refused as too long", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("word ".repeat(200), {}, routeOf({ system: "word ".repeat(100) }));
    await drain();
    expect(agent.replies).toEqual([error("too_long", /context holds 256/)]);
  });

  test("that fails for a reason nobody foresaw is answered `failed`, and the next one is answered", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.beforePiece = () => Promise.reject(new Error("the sky fell"));
    await agent.ask("a");
    await drain();
    agent.engine.beforePiece = () => Promise.resolve();
    await agent.ask("b");
    await drain();
    expect(agent.replies).toEqual([error("failed", /the sky fell/), expect.objectContaining({ status: "ok" })]);
  });

  test("on an extract route is refused, not left hanging", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("a", {}, routeOf({ task: "extract" }));
    await drain();
    expect(agent.replies).toEqual([error("bad_request")]);
  });

  test("of text form gets plain text, also for an error", async () => {
    const agent = await AgentUnderTest.started();
    const route = routeOf({ replyForm: "text" });
    await agent.ask("a", {}, route);
    await agent.ask("", {}, route);
    await drain();
    const texts = agent.published.map(({ payload }) => new TextDecoder().decode(payload)).sort();
    expect(texts).toEqual(["The capital is Paris.", "error: bad_request: payload is empty"]);
  });
});

describe("classification", () => {
  const route = routeOf({
    task: "classify",
    replyTopic: "pipit/board/label",
    labels: [{ name: "on" }, { name: "off" }],
  });

  test("answers with the label, its probabilities and who decided", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.likelihood = (text, candidate) => (text.includes(candidate) ? -0.1 : -3);
    await agent.ask("turn it off", {}, route);
    await drain();
    expect(agent.replies).toMatchObject([{ status: "ok", task: "classify", label: "off", by: "decoder" }]);
  });

  test("without labels anywhere is a bad request", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("turn it off", {}, { ...route, labels: [] });
    await drain();
    expect(agent.replies).toEqual([error("bad_request", /labels is empty/)]);
  });
});

describe("a stream", () => {
  test("joins to the text of the reply, counts from 0 and ends with final", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask({ text: "a", id: "q", stream: true });
    for (let piece = 0; piece < 4; piece += 1) {
      await drain();
      agent.clock.advance(60);
      gate.pass();
    }
    await drain();
    expect(agent.partials.map(({ text }) => text).join("")).toBe(agent.replies[0]?.["text"]);
    expect(agent.partials.map(({ seq }) => seq)).toEqual(agent.partials.map((_, index) => index));
    expect(agent.partials.map(({ final }) => final).lastIndexOf(false)).toBe(agent.partials.length - 2);
    expect(agent.partials.at(-1)).toMatchObject({ id: "q", final: true });
    expect(agent.published[0]?.topic).toBe("pipit/board/answer/partial");
  });

  test("begins anew at 0 when the model's process dies, and only the last attempt says final", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask({ text: "a", stream: true });
    await drain();
    gate.pass();
    await drain();
    agent.engine.kill();
    await drain();
    gate.open();
    await drain();
    expect(agent.partials.filter(({ final }) => final)).toHaveLength(1);
    const lastStart = agent.partials.map(({ seq }) => seq).lastIndexOf(0);
    const joined = agent.partials.slice(lastStart).map(({ text }) => text);
    expect(lastStart).toBeGreaterThan(0);
    expect(joined.join("")).toBe("The capital is Paris.");
  });

  test("of an answer that fails ends with final too", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.beforePiece = () => Promise.reject(new Error("no"));
    await agent.ask({ text: "a", stream: true });
    await drain();
    expect(agent.partials).toEqual([{ id: "made-1", seq: 0, text: "", final: true }]);
    expect(agent.replies).toEqual([error("failed")]);
  });
});

describe("a deadline", () => {
  test("of a waiting question is answered `expired` at that moment", async () => {
    const agent = await AgentUnderTest.started();
    agent.pipeline.pause();
    // A real clock counts in fractions; the message does not.
    agent.clock.advance(0.1);
    await agent.ask({ text: "a", deadline_ms: 500 });
    agent.clock.advance(499);
    await drain();
    expect(agent.replies).toEqual([]);
    agent.clock.advance(1);
    await drain();
    expect(agent.replies).toEqual([error("expired", /within the 500 ms/)]);
    expect(agent.pipeline.isIdle).toBe(true);
  });

  test("of a running question stops the model", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.beforePiece = new Gate().enter;
    await agent.ask("a", { expirySeconds: 2 });
    await drain();
    agent.clock.advance(2000);
    await drain();
    expect(agent.replies).toEqual([error("expired")]);
    expect(agent.clock.pending).toBe(0);
  });
});

describe("cancel", () => {
  test("ends a waiting question and a running one, and says whether there was one", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.beforePiece = new Gate().enter;
    await agent.ask({ text: "a", id: "runs" });
    await agent.ask({ text: "b", id: "waits" });
    expect(agent.pipeline.cancel("waits")).toBe(true);
    expect(agent.pipeline.cancel("runs")).toBe(true);
    expect(agent.pipeline.cancel("nobody")).toBe(false);
    await drain();
    expect(agent.replies).toEqual([error("cancelled"), error("cancelled")]);
    expect(agent.clock.pending).toBe(0);
  });

  test("during the rest before a question is answered too", async () => {
    const agent = await AgentUnderTest.started({ pauseMs: 5000 });
    await agent.ask({ text: "a", id: "q" });
    await drain();
    expect(agent.engine.generated).toEqual([]);
    agent.pipeline.cancel("q");
    await drain();
    expect(agent.replies).toEqual([error("cancelled")]);
    expect(agent.holds).toEqual({ begun: 1, ended: 1 });
  });
});

describe("a change of models", () => {
  test("waits for the running questions and holds back the next ones, until it is done", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask({ text: "a", id: "1" });
    await agent.ask({ text: "b", id: "2" });
    const stop = agent.pipeline.stopQuestions();
    let quiet = false;
    void stop.quiet.then(() => (quiet = true));
    await drain();
    expect([quiet, stop.isQuiet]).toEqual([false, false]);
    gate.open();
    await drain();
    expect([quiet, stop.isQuiet]).toEqual([true, true]);
    expect(agent.replies.map(({ id }) => id)).toEqual(["1"]);
    const second = agent.pipeline.stopQuestions();
    await second.quiet;
    stop.release();
    stop.release();
    await drain();
    expect(agent.replies).toHaveLength(1);
    second.release();
    await drain();
    expect(agent.replies.map(({ id }) => id)).toEqual(["1", "2"]);
  });
});

describe("the death of the model's process", () => {
  test("costs the running question one repetition", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask("a");
    await drain();
    agent.engine.kill();
    gate.open();
    await drain();
    expect(agent.replies).toMatchObject([{ status: "ok", text: "The capital is Paris." }]);
    expect(agent.engine.generated).toHaveLength(2);
  });

  test("is not held against the question that ran beside the one it was due to", async () => {
    const agent = await AgentUnderTest.started({ sequences: 2 });
    const gate = new Gate();
    agent.pipeline.pause();
    for (const text of ["deadly", "innocent"]) await agent.ask({ text, id: text });
    agent.engine.beforePiece = ({ turns }) => {
      if (turns.at(-1)?.text !== "deadly") return gate.enter();
      setImmediate(() => agent.engine.kill());
      return new Promise(() => {});
    };
    agent.pipeline.resumeWork();
    while (agent.replies.length === 0) await drain();
    expect(agent.replies).toEqual([error("failed", /died 2 times/, "deadly")]);
    gate.open();
    await drain();
    expect(agent.replies[1]).toMatchObject({ id: "innocent", status: "ok" });
  });

  test("is forgotten by a clean stop: whoever restarts the agent twice buries no question", async () => {
    const agent = await AgentUnderTest.started({ journal: durable });
    agent.engine.beforePiece = () => new Promise(() => {});
    await agent.ask({ text: "long", id: "q" });
    const stopped = agent.pipeline.stop(3000);
    agent.clock.advance(3000);
    await stopped;
    const { open } = await agent.journal.start();
    expect(open).toMatchObject([{ starts: 0, deaths: 0 }]);
  });

  test("twice on one question gives it up, and the next one is answered", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.beforePiece = () => (agent.engine.kill(), new Promise(() => {}));
    await agent.ask({ text: "deadly", id: "q" });
    await drain();
    agent.engine.beforePiece = () => Promise.resolve();
    await agent.ask("fine");
    await drain();
    expect(agent.replies).toEqual([error("failed", /died 2 times/), expect.objectContaining({ status: "ok" })]);
  });
});

describe("a repeated question", () => {
  const again = { text: "a", id: "q" };

  test("while the first one is in work adds nothing", async () => {
    const agent = await AgentUnderTest.started();
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask(again);
    await agent.ask(again, { duplicate: true });
    gate.open();
    await drain();
    expect(agent.replies).toHaveLength(1);
    expect(agent.engine.generated).toHaveLength(1);
  });

  test("is acknowledged no sooner than the first one is safe, and not at all when that fails", async () => {
    const disk = { full: true, write: new Gate() };
    class SlowJournal extends MemoryJournal {
      readonly #writing = new Map<string, Promise<void>>();
      override accept(question: AcceptedQuestion): Promise<void> {
        const written = this.#writing.get(question.key) ?? this.#write(question);
        this.#writing.set(question.key, written);
        return written;
      }
      async #write(question: AcceptedQuestion): Promise<void> {
        await super.accept(question);
        await disk.write.enter();
        if (disk.full) throw new PipitError("transient", "journal_unavailable", "no space left");
      }
    }
    const agent = await AgentUnderTest.started({ journal: (clock) => new SlowJournal({ clock }) });
    const ends: string[] = [];
    const both = [agent.ask(again), agent.ask(again, { duplicate: true })].map((asked) =>
      asked.then(
        () => ends.push("acknowledged"),
        () => ends.push("not acknowledged"),
      ),
    );
    await drain();
    expect(ends).toEqual([]);
    disk.write.open();
    await Promise.all(both);
    expect(ends).toEqual(["not acknowledged", "not acknowledged"]);
  });

  test("without any identity is known by packet identifier and DUP flag, and only with both", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask("What time is it?", { packetId: 7 });
    await drain();
    await agent.ask("What time is it?", { packetId: 7, duplicate: true });
    await agent.ask("What time is it?", { packetId: 8, duplicate: true });
    await agent.ask("What time is it?", { packetId: 7 });
    await agent.ask("What day is it?", { packetId: 7, duplicate: true });
    await drain();
    const ids = agent.replies.map(({ id }) => id);
    expect(agent.published[1]).toEqual(agent.published[0]);
    expect(new Set(ids).size).toBe(4);
    expect(ids).toHaveLength(5);
  });

  test("after the answer gets the same bytes again", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask(again);
    await drain();
    agent.clock.advance(1000);
    agent.engine.pieces = () => ["something else"];
    await agent.ask(again);
    await drain();
    expect(agent.published).toHaveLength(2);
    expect(agent.published[1]).toEqual(agent.published[0]);
  });

  test("with the same id but another text is another question", async () => {
    const agent = await AgentUnderTest.started();
    await agent.ask(again);
    await agent.ask({ ...again, text: "b" });
    await drain();
    expect(agent.engine.generated).toHaveLength(2);
  });

  test("at the same time as the first is taken as one", async () => {
    const agent = await AgentUnderTest.started();
    await Promise.all([agent.ask(again), agent.ask(again), agent.ask(again)]);
    await drain();
    expect(agent.replies).toHaveLength(1);
  });
});

test("what the model says is the text of the reply and nothing else: no topic, no command, no setting", async () => {
  const agent = await AgentUnderTest.started();
  const said =
    '{"reply_to":"pipit/board/control/pause","topic":"#","verb":"pause","id":"other","status":"error","retain":true}';
  agent.engine.pieces = () => [said];
  for (const replyForm of ["json", "text"] as const) {
    await agent.ask({ text: "Say it.", id: replyForm }, { responseTopic: "r" }, routeOf({ replyForm }));
  }
  await drain();
  expect(agent.published.map(({ topic, retain }) => ({ topic, retain }))).toEqual([{ topic: "r" }, { topic: "r" }]);
  expect(agent.replies).toMatchObject([{ id: "json", status: "ok", text: said }, JSON.parse(said)]);
  expect(agent.pipeline.status.paused).toBe(false);
});

describe("the limits of a route", () => {
  const limited = (questionsPerMinute: number, tokensPerMinute = 0) =>
    routeOf({ senderLimits: { questionsPerMinute, tokensPerMinute, openQuestions: 0, openBytes: 0 } });

  test("answer `rate_limited` with the time after which the sender may ask again", async () => {
    const agent = await AgentUnderTest.started();
    const route = limited(2);
    for (const id of ["1", "2", "3"]) await agent.ask({ text: "a", id }, {}, route);
    await drain();
    const replyTo = (id: string) => agent.replies.find((reply) => reply["id"] === id);
    expect([replyTo("1"), replyTo("2")]).toMatchObject([{ status: "ok" }, { status: "ok" }]);
    expect(replyTo("3")).toMatchObject({ error: { code: "rate_limited", retry_after_ms: 30_000 } });
    await agent.clock.advance(30_001);
    await agent.ask({ text: "a", id: "4" }, {}, route);
    await drain();
    expect(agent.replies.at(-1)).toMatchObject({ id: "4", status: "ok" });
  });

  test("do not charge a question twice that the journal could not take at first, nor one that is repeated", async () => {
    class FullJournal extends MemoryJournal {
      full = true;

      override accept(question: AcceptedQuestion): Promise<void> {
        if (this.full) return Promise.reject(new Error("no space left on device"));
        return super.accept(question);
      }
    }
    let journal: FullJournal | undefined;
    const agent = await AgentUnderTest.started({ journal: (clock) => (journal = new FullJournal({ clock })) });
    const route = limited(1, 100);
    for (let time = 0; time < 5; time += 1) {
      await expect(agent.ask({ text: "a", id: "q" }, {}, route)).rejects.toThrow("no space");
    }
    if (journal) journal.full = false;
    for (let time = 0; time < 3; time += 1) {
      await agent.ask({ text: "a", id: "q" }, {}, route);
      await drain();
    }
    expect(agent.replies.map(({ status }) => status)).toEqual(["ok", "ok", "ok"]);
  });

  test("count the tokens that an answer really had", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.pieces = () => Array.from({ length: 90 }, () => "word ");
    const route = limited(0, 100);
    await agent.ask({ text: "a", id: "1" }, {}, route);
    await drain();
    await agent.ask({ text: "a", id: "2" }, {}, route);
    await drain();
    expect(agent.replies).toMatchObject([{ id: "1", status: "ok" }, error("rate_limited", /100 tokens a minute/, "2")]);
  });
});

describe("the bounded line", () => {
  test("answers `busy` with an estimate once it is full", async () => {
    const agent = await AgentUnderTest.started({ maxQuestions: 2 });
    agent.engine.beforePiece = new Gate().enter;
    for (const id of ["runs", "waits 1", "waits 2", "too many"]) await agent.ask({ text: "a", id });
    await drain();
    expect(agent.replies).toEqual([error("busy", /2 questions are waiting, the limit is 2/, "too many")]);
  });

  test("is bounded also while the journal is slow", async () => {
    const slow = new Gate();
    class SlowJournal extends MemoryJournal {
      override async accept(question: AcceptedQuestion): Promise<void> {
        await super.accept(question);
        await slow.enter();
      }
    }
    const agent = await AgentUnderTest.started({ maxQuestions: 3, journal: (clock) => new SlowJournal({ clock }) });
    agent.pipeline.pause();
    const asked = Array.from({ length: 20 }, (_, index) => agent.ask({ text: "a", id: `${index}` }));
    await drain();
    slow.open();
    await Promise.all(asked);
    expect(agent.pipeline.status).toMatchObject({ waiting: 3, refused: 17 });
  });

  test("is bounded by bytes", async () => {
    const agent = await AgentUnderTest.started({ maxBytes: 1000 });
    agent.engine.beforePiece = new Gate().enter;
    await agent.ask({ text: "runs", id: "runs" });
    for (const id of ["waits", "too many"]) await agent.ask({ text: "x".repeat(500), id });
    await drain();
    expect(agent.replies).toEqual([
      error("busy", /waiting questions would have \d+ bytes, the limit is 1000/, "too many"),
    ]);
  });

  test("leaves places for others when one sender asks all he can", async () => {
    const agent = await AgentUnderTest.started({ maxQuestions: 8 });
    agent.engine.beforePiece = new Gate().enter;
    const ask = (sender: string, id: string) => agent.ask({ text: "a", id, reply_to: sender });
    for (let index = 0; index < 20; index += 1) await ask("flood", `${index}`);
    expect(agent.pipeline.status).toMatchObject({ running: 1, waiting: 6, refused: 13 });
    await ask("somebody", "one");
    await ask("somebody else", "other");
    expect(agent.pipeline.status).toMatchObject({ waiting: 8, refused: 13 });
  });

  test("refuses the very first question when the calibration says that it will be late", async () => {
    const agent = await AgentUnderTest.started({ expectedMs: 100 });
    await agent.ask({ text: "x".repeat(400), deadline_ms: 10_000, id: "late" });
    await agent.ask({ text: "x".repeat(400), deadline_ms: 20_000, id: "in time" });
    await drain();
    const message = /an answer would take about 13.2 s, the deadline is in 10.0 s/;
    expect(agent.replies).toMatchObject([error("busy", message, "late"), { id: "in time", status: "ok" }]);
  });

  test("refuses what cannot be answered before its deadline, by what was measured", async () => {
    const agent = await AgentUnderTest.started();
    agent.engine.pieces = () => Array.from({ length: 100 }, () => "word ");
    await agent.ask("learn how long it takes");
    await drain();
    await agent.ask({ text: "a", deadline_ms: 200 });
    expect(agent.replies.at(-1)).toEqual(error("busy", /would take about 1\.0 s, the deadline is in 0\.2 s/));
  });

  test("works on as many at once as the plan has sequences", async () => {
    const agent = await AgentUnderTest.started({ sequences: 3 });
    agent.engine.beforePiece = new Gate().enter;
    for (const id of ["1", "2", "3", "4"]) await agent.ask({ text: "a", id });
    await drain();
    expect(agent.pipeline.status).toMatchObject({ running: 3, waiting: 1 });
  });
});

describe("the broker", () => {
  const down = () => Promise.reject(new PipitError("transient", "link_down", "gone"));

  test("that is away gets the reply with the next connection, byte for byte", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = down;
    await agent.ask({ text: "a", id: "q" });
    await drain();
    expect(agent.outbox.length).toBe(1);
    agent.onPublish = () => Promise.resolve();
    await agent.outbox.resend();
    expect(agent.replies).toMatchObject([{ id: "q", status: "ok" }]);
    expect(agent.outbox.length).toBe(0);
  });

  test("that is slow to acknowledge does not keep the model from the next question", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = () => new Promise(() => {});
    await agent.ask({ text: "a", id: "1" });
    await agent.ask({ text: "a", id: "2" });
    await drain();
    expect(agent.engine.generated.map(({ id }) => id)).toEqual(["1", "2"]);
  });

  test("that is away when a question must be refused gets no PUBACK, and brings it again", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = down;
    await expect(agent.ask("")).rejects.toMatchObject({ kind: "transient" });
  });

  test("that is over its quota gets the reply a little later, without a new connection", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = () => Promise.reject(new PipitError("transient", "publish_refused", "quota exceeded"));
    await agent.ask("a");
    await drain();
    expect(agent.published).toEqual([]);
    agent.onPublish = () => Promise.resolve();
    agent.clock.advance(5000);
    await drain();
    expect(agent.replies).toMatchObject([{ status: "ok" }]);
  });

  test("that forbids a topic is not asked again and again", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = () => Promise.reject(new PipitError("request", "not_allowed", "the access list says no"));
    await agent.ask("");
    await agent.ask({ text: "a", id: "q" });
    await drain();
    expect(agent.outbox.length).toBe(0);
    expect(agent.log.lines.filter(({ level }) => level === "warn")).toHaveLength(2);
  });
});

describe("a journal that cannot write", () => {
  test("keeps the question from being acknowledged, and nothing of it stays", async () => {
    class FullDisk extends MemoryJournal {
      override accept = () => Promise.reject(new PipitError("transient", "journal_full", "no space left"));
    }
    const agent = await AgentUnderTest.started({ journal: (clock) => new FullDisk({ clock }) });
    await expect(agent.ask("a")).rejects.toMatchObject({ code: "journal_full" });
    await drain();
    expect(agent.pipeline.isIdle).toBe(true);
    expect(agent.published).toEqual([]);
    await agent.pipeline.stop(1000);
  });

  test("is tried again until the reply is safe, and only then it is published", async () => {
    let full = true;
    class FullDisk extends MemoryJournal {
      override answer(...args: Parameters<MemoryJournal["answer"]>): Promise<void> {
        return full ? Promise.reject(new Error("no space left")) : super.answer(...args);
      }
    }
    const agent = await AgentUnderTest.started({ journal: (clock) => new FullDisk({ clock }) });
    await agent.ask("a");
    for (let second = 0; second < 3; second += 1) {
      await drain();
      agent.clock.advance(1000);
    }
    expect(agent.published).toEqual([]);
    full = false;
    agent.clock.advance(1000);
    await drain();
    expect(agent.replies).toMatchObject([{ status: "ok" }]);
  });

  test("does not hang the stop, and the reply stays unsaid", async () => {
    class FullDisk extends MemoryJournal {
      override answer = () => Promise.reject(new Error("no space left"));
    }
    const agent = await AgentUnderTest.started({ journal: (clock) => new FullDisk({ clock }) });
    await agent.ask("a");
    await drain();
    const stopped = agent.pipeline.stop(3000);
    agent.clock.advance(3000);
    await stopped;
    expect(agent.published).toEqual([]);
  });
});

describe("stop", () => {
  async function working(journal?: (clock: AgentUnderTest["clock"]) => Journal) {
    const agent = await AgentUnderTest.started(journal ? { journal } : {});
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    await agent.ask({ text: "a", id: "runs" });
    await agent.ask({ text: "a", id: "waits" });
    await drain();
    return { agent, gate };
  }

  test("lets the running answer end within the grace and refuses the waiting one", async () => {
    const { agent, gate } = await working();
    const stopped = agent.pipeline.stop(3000);
    gate.open();
    await stopped;
    expect(agent.replies).toEqual([
      error("failed", /stopping/, "waits"),
      expect.objectContaining({ id: "runs", status: "ok" }),
    ]);
  });

  test("ends the running answer after the grace", async () => {
    const { agent } = await working();
    const stopped = agent.pipeline.stop(3000);
    agent.clock.advance(3000);
    await stopped;
    expect(agent.replies).toEqual([error("failed", /stopping/), error("failed", /stopping/)]);
  });

  test("leaves both in a durable journal, without a reply", async () => {
    const { agent } = await working(durable);
    const stopped = agent.pipeline.stop(3000);
    agent.clock.advance(3000);
    await stopped;
    expect(agent.published).toEqual([]);
    expect((await agent.journal.start()).open).toMatchObject([{ starts: 0 }, { starts: 0 }]);
  });

  test("still answers `cancelled` and `expired` while a durable journal is being left", async () => {
    const { agent } = await working(durable);
    const stopped = agent.pipeline.stop(3000);
    agent.pipeline.cancel("runs");
    await stopped;
    expect(agent.replies).toEqual([error("cancelled")]);
  });

  test("takes nothing new, so that the broker keeps it", async () => {
    const { agent } = await working();
    const stopped = agent.pipeline.stop(0);
    await expect(agent.ask("b")).rejects.toMatchObject({ kind: "transient", code: "stopping" });
    agent.clock.advance(0);
    await stopped;
  });

  test("answers a question that the journal was still writing", async () => {
    const slow = new Gate();
    class SlowJournal extends MemoryJournal {
      override async accept(question: AcceptedQuestion): Promise<void> {
        await super.accept(question);
        await slow.enter();
      }
    }
    const agent = await AgentUnderTest.started({ journal: (clock) => new SlowJournal({ clock }) });
    const asked = agent.ask("a");
    const stopped = agent.pipeline.stop(3000);
    slow.open();
    await Promise.all([asked, stopped]);
    expect(agent.replies).toEqual([error("failed", /stopping/)]);
    expect(agent.clock.pending).toBe(0);
  });

  test("twice waits for the same end", async () => {
    const { agent, gate } = await working();
    let ended = false;
    void agent.pipeline.stop(3000).then(() => (ended = true));
    const second = agent.pipeline.stop(3000);
    gate.open();
    await second;
    expect(ended).toBe(true);
  });

  test("does not wait long for a broker that says nothing", async () => {
    const agent = await AgentUnderTest.started();
    agent.onPublish = () => new Promise(() => {});
    await agent.ask("a");
    await drain();
    const stopped = agent.pipeline.stop(3000);
    await drain();
    agent.clock.advance(1000);
    await stopped;
  });
});

describe("after a restart", () => {
  const record = (more: Partial<AcceptedQuestion> = {}): AcceptedQuestion => ({
    key: "k",
    topic: "pipit/board/ask",
    payload: bytes('{"text":"a","id":"q"}'),
    acceptedWallMs: 1_800_000_000_000 - 10_000,
    deadlineWallMs: 1_800_000_000_000 + 20_000,
    ...more,
  });

  async function restarted(
    more: Partial<AcceptedQuestion> = {},
    attempts = { starts: 0, deaths: 0 },
  ): Promise<AgentUnderTest> {
    const agent = await AgentUnderTest.started();
    await agent.journal.accept(record(more));
    await agent.pipeline.resume(record(more), attempts, routeOf());
    await drain();
    return agent;
  }

  test("an accepted question is answered under its key, and its reply does not begin to expire", async () => {
    const agent = await restarted();
    expect(agent.replies).toMatchObject([{ id: "q", status: "ok" }]);
    expect(agent.published[0]).not.toHaveProperty("expirySeconds");
    expect(agent.journal.state("k")).toBe("settled");
  });

  test("one whose time has passed is answered `expired`", async () => {
    const agent = await restarted({ deadlineWallMs: 1_800_000_000_000 - 1 });
    expect(agent.replies).toEqual([error("expired")]);
    expect(agent.journal.state("k")).toBe("settled");
  });

  test.for([
    { starts: 0, deaths: 2, why: /the model's process died 2 times/ },
    { starts: 2, deaths: 1, why: /process died once on this question, the agent ended 2 times/ },
    { starts: 4, deaths: 0, why: /the agent ended 4 times/ },
  ])("one with $deaths deaths of the child and $starts of the agent is given up", async ({ why, ...attempts }) => {
    const agent = await restarted({}, attempts);
    expect(agent.replies).toEqual([error("failed", why)]);
    expect(agent.journal.state("k")).toBe("dead");
  });

  test.for([
    { starts: 3, deaths: 0 },
    { starts: 1, deaths: 1 },
  ])("one with $deaths deaths of the child and $starts of the agent is answered", async (attempts) => {
    expect((await restarted({}, attempts)).replies).toMatchObject([{ status: "ok" }]);
  });

  test("one that a process died on runs alone, so that it is known whose doing the next death is", async () => {
    const agent = await AgentUnderTest.started({ sequences: 2 });
    const gate = new Gate();
    agent.engine.beforePiece = gate.enter;
    const others = ["b", "c"].map((id) => record({ key: id, payload: bytes(`{"text":"a","id":"${id}"}`) }));
    for (const each of [record(), ...others]) await agent.journal.accept(each);
    agent.pipeline.pause();
    await agent.pipeline.resume(record(), { starts: 1, deaths: 0 }, routeOf());
    for (const each of others) await agent.pipeline.resume(each, { starts: 0, deaths: 0 }, routeOf());
    agent.pipeline.resumeWork();
    await drain();
    expect(agent.pipeline.status).toMatchObject({ running: 1, waiting: 2 });
    gate.open();
    await drain();
    expect(agent.replies.map(({ id }) => id)).toEqual(["q", "b", "c"]);
  });

  test("one keeps only the time it has left", async () => {
    const agent = await AgentUnderTest.started();
    agent.pipeline.pause();
    await agent.journal.accept(record());
    await agent.pipeline.resume(record(), { starts: 0, deaths: 0 }, routeOf());
    agent.clock.advance(20_000);
    await drain();
    expect(agent.replies).toEqual([error("expired")]);
  });
});
