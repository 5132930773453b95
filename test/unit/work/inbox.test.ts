import { describe, expect, test } from "vitest";
import { RequestError } from "../../../src/core/errors.ts";
import type { IncomingMessage, OutgoingMessage } from "../../../src/core/message.ts";
import { topicsOf } from "../../../src/core/topics.ts";
import { Controls, type Verb } from "../../../src/work/controls.ts";
import { Inbox } from "../../../src/work/inbox.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { AgentUnderTest, drain, Gate, jsonOf } from "../../fixtures/pipeline-agent.ts";
import { bytes, messageOf, routeOf } from "../../fixtures/questions.ts";

const topics = topicsOf("pipit", "board");
const routes = [
  routeOf(),
  routeOf({ name: "pool", filter: "$share/pool/pipit/pool/+/ask", replyTopic: "pool/{1}/answer" }),
  routeOf({ name: "rooms", filter: "room/+/say", replyTopic: "room/{1}/heard" }),
];

async function inbox(verbs: Record<string, Verb> = {}, allowed = Object.keys(verbs)) {
  const agent = await AgentUnderTest.started();
  const responses: OutgoingMessage[] = [];
  const publish = (message: OutgoingMessage) => void responses.push(message);
  const controls = new Controls(verbs, allowed);
  const lessons: string[] = [];
  const learn = ({ payload }: IncomingMessage) => {
    const lesson = new TextDecoder().decode(payload);
    lessons.push(lesson);
    return lesson === "bad" ? Promise.reject(new RequestError("bad_request", "no label")) : Promise.resolve();
  };
  const log = new FakeLogger();
  const rooms = { pipeline: agent.pipeline, controls, learn, publish, clock: agent.clock, log };
  return { agent, lessons, responses, log, inbox: new Inbox({ topics, routes }, rooms) };
}

describe("the inbox", () => {
  test("subscribes to the routes, cancel, feedback and the control verbs, each once", async () => {
    const { inbox: under } = await inbox();
    expect(under.filters).toEqual([
      "pipit/board/ask",
      "$share/pool/pipit/pool/+/ask",
      "room/+/say",
      "pipit/board/cancel",
      "pipit/board/feedback",
      "pipit/board/control/+",
    ]);
  });

  test.each([
    ["pipit/board/ask", "pipit/board/answer"],
    ["pipit/pool/kitchen/ask", "pool/kitchen/answer"],
    ["room/7/say", "room/7/heard"],
  ])("brings a question on %s to its route, answered on %s", async (topic, reply) => {
    const { agent, inbox: under } = await inbox();
    await under.handle(messageOf("a", { topic, arrivedMs: agent.clock.nowMs() }));
    await drain();
    expect(agent.published.map((message) => message.topic)).toEqual([reply]);
  });

  test("learns from feedback, but not from a retained one", async () => {
    const { lessons, inbox: under } = await inbox();
    await under.handle(messageOf('{"id":"1","label":"lights"}', { topic: "pipit/board/feedback" }));
    await under.handle(messageOf('{"id":"2","label":"music"}', { topic: "pipit/board/feedback", retained: true }));
    expect(lessons).toEqual(['{"id":"1","label":"lights"}']);
  });

  test("tells of a flood of bad feedback in one line in ten seconds, with their number and no stack", async () => {
    const { agent, log, inbox: under } = await inbox();
    const bad = messageOf("bad", { topic: "pipit/board/feedback" });
    for (let count = 0; count < 100; count++) await under.handle(bad);
    await drain();
    agent.clock.advance(10_000);
    await under.handle(bad);
    await drain();
    const told = log.lines.filter(({ level }) => level !== "debug");
    expect(told.map(({ fields }) => fields)).toEqual([
      { code: "bad_request", refused: 1 },
      { code: "bad_request", refused: 100 },
    ]);
    expect(told[0]).toMatchObject({ level: "info", message: "feedback was not learnt: no label" });
  });

  test("acknowledges what belongs to no route", async () => {
    const { agent, inbox: under } = await inbox();
    await under.handle(messageOf("a", { topic: "elsewhere" }));
    expect(agent.published).toEqual([]);
  });
});

describe("a cancel", () => {
  test("of nothing in work is said at debug level only, with a long id cut", async () => {
    const { log, inbox: under } = await inbox();
    await under.handle(messageOf("x".repeat(10_000), { topic: "pipit/board/cancel" }));
    expect(log.lines).toEqual([
      { level: "debug", fields: { id: expect.any(String), found: false }, message: "cancel" },
    ]);
    expect(log.lines[0]?.fields["id"]).toHaveLength(128);
  });

  test.each(['{"id":"q"}', "q", " q\n"])("as %j ends the question", async (payload) => {
    const { agent, inbox: under } = await inbox();
    agent.engine.beforePiece = new Gate().enter;
    await agent.ask({ text: "a", id: "q" });
    await drain();
    await under.handle(messageOf(payload, { topic: "pipit/board/cancel" }));
    await drain();
    expect(agent.replies).toMatchObject([{ error: { code: "cancelled" } }]);
  });

  test.each(["", "{}", "null", '{"id":{"toString":1}}', "\u0000"])("as %j does no harm", async (payload) => {
    const { inbox: under } = await inbox();
    await under.handle(messageOf(bytes(payload), { topic: "pipit/board/cancel" }));
  });

  test("that was retained is not obeyed", async () => {
    const { agent, inbox: under } = await inbox();
    agent.engine.beforePiece = new Gate().enter;
    await agent.ask({ text: "a", id: "q" });
    await under.handle(messageOf("q", { topic: "pipit/board/cancel", retained: true }));
    await drain();
    expect(agent.replies).toEqual([]);
  });
});

describe("a control verb", () => {
  const verbs: Record<string, Verb> = {
    plan: () => ({ threads: 2 }),
    pause: () => undefined,
    echo: (argument) => Promise.resolve(argument),
    refuse: () => {
      throw new RequestError("bad_request", "no such model");
    },
    break: () => Promise.reject(new Error("it broke")),
  };
  const cases: [verb: string, payload: unknown, response: object][] = [
    ["plan", { transaction: 7 }, { transaction: 7, verb: "plan", status: "ok", data: { threads: 2 } }],
    ["plan", "", { verb: "plan", status: "ok", data: { threads: 2 } }],
    ["pause", { transaction: "t" }, { transaction: "t", verb: "pause", status: "ok", data: {} }],
    ["echo", { x: 1 }, { verb: "echo", status: "ok", data: { x: 1 } }],
    ["refuse", { transaction: 1 }, { transaction: 1, status: "error", error: { code: "bad_request" } }],
    ["break", { transaction: 1 }, { transaction: 1, status: "error", error: { code: "failed", message: "it broke" } }],
    ["reboot", { transaction: 1 }, { transaction: 1, status: "error", error: { code: "not_allowed" } }],
    ["constructor", {}, { status: "error", error: { code: "not_allowed" } }],
    ["plan", "not json", { status: "error", error: { code: "bad_request" } }],
    ["plan", "[1]", { status: "error", error: { code: "bad_request", message: "the payload is not a JSON object" } }],
    ["plan", "null", { status: "error", error: { code: "bad_request" } }],
  ];
  test.each(cases)("%s with %j is answered", async (verb, payload, response) => {
    const { inbox: under, responses } = await inbox(verbs);
    await under.handle(messageOf(payload, { topic: `pipit/board/control/${verb}`, correlationData: bytes("c") }));
    await drain();
    expect(responses).toMatchObject([{ topic: "pipit/board/control/response", correlationData: bytes("c") }]);
    expect(responses.map(jsonOf)).toMatchObject([response]);
  });

  test("off the allow-list is refused, naming what is allowed", async () => {
    const { inbox: under, responses } = await inbox(verbs, ["plan", "pause"]);
    await under.handle(messageOf({}, { topic: "pipit/board/control/echo" }));
    await drain();
    expect(responses.map(jsonOf)).toMatchObject([{ error: { message: 'no verb "echo"; allowed: plan, pause' } }]);
  });

  test("is answered where the sender asks for it", async () => {
    const { inbox: under, responses } = await inbox(verbs);
    await under.handle(messageOf({}, { topic: "pipit/board/control/plan", responseTopic: "operator/1" }));
    await drain();
    expect(responses.map(({ topic }) => topic)).toEqual(["operator/1"]);
  });

  test.each(["pipit/board/ask", "room/1/say", "pipit/board/control/plan", "a/+", "$SYS/a", "pipit/pool/x/ask"])(
    "is not answered on %s, where it would be a request or no topic",
    async (responseTopic) => {
      const { inbox: under, responses } = await inbox(verbs);
      await under.handle(messageOf({}, { topic: "pipit/board/control/plan", responseTopic }));
      await drain();
      expect(responses.map(({ topic }) => topic)).toEqual(["pipit/board/control/response"]);
    },
  );

  test("is not obeyed when retained, nor when it is our own response", async () => {
    const { inbox: under, responses } = await inbox(verbs);
    await under.handle(messageOf({}, { topic: "pipit/board/control/plan", retained: true }));
    await under.handle(messageOf({}, { topic: "pipit/board/control/response" }));
    await drain();
    expect(responses).toEqual([]);
  });
});
