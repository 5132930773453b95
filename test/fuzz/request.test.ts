// Requests as anybody may send them: a question, or a refusal to a topic that is fit for one. Never a throw.
import { expect, test } from "vitest";
import type { IncomingMessage } from "../../src/core/message.ts";
import { matchFilter, topicFault } from "../../src/core/topics.ts";
import { recordOf } from "../../src/core/question-record.ts";
import { errorReply, replyTo } from "../../src/core/reply.ts";
import type { Route } from "../../src/core/route.ts";
import { Controls } from "../../src/work/controls.ts";
import { readQuestion } from "../../src/work/intake.ts";
import type { Random } from "../fakes/random.ts";
import { LIMITS, messageOf, routeOf } from "../fixtures/questions.ts";
import { fuzz, TIMEOUT_MS } from "./fuzz.ts";
import { anyJson, anyRecord, mutated, noise, pick, wordy } from "./mutate.ts";

const NAMES =
  "text id reply_to session deadline_ms max_tokens temperature stream priority labels schema explain context".split(
    " ",
  );
NAMES.push(
  "name",
  "description",
  "__proto__",
  "constructor",
  "toJSON",
  "length",
  "transaction",
  "pipit/board/ask",
  "#",
  "+/+",
);
const SOUND = [
  { text: "Why?", id: "q-17", reply_to: "my/answers", stream: true, deadline_ms: 5000, max_tokens: 7, priority: 9 },
  { text: "on", labels: ["a", { name: "b", description: "second" }], explain: true, context: "The lamp is off." },
  { text: "when?", schema: { type: "object", properties: { at: { type: "string" } } }, temperature: 0.5 },
].map((fields) => Buffer.from(JSON.stringify(fields)));
const LEVELS = ["pipit", "board", "ask", "room", "3", "say", "+", "#", "$share", "", "{1}", "control", "partial", "x"];

const ROUTES: Route[] = [
  routeOf(),
  routeOf({ name: "text", task: "classify", replyForm: "text", labels: [{ name: "a" }], sender: "property:user" }),
  routeOf({
    name: "own",
    filter: "room/+/#",
    replyTopic: "{2}/{1}",
    sender: "{2}",
    allowReplyTo: ["my/#", "+/answers"],
  }),
];

function payload(random: Random): Uint8Array {
  switch (random.below(6)) {
    case 0:
      return mutated(random, SOUND);
    case 1:
      return Buffer.from(JSON.stringify(anyRecord(random, NAMES)));
    case 2:
      return Buffer.from(JSON.stringify({ text: "x", ...anyRecord(random, NAMES) }));
    case 3:
      return Buffer.from(wordy(random, [...NAMES, "{", "}", "[", "]", ":", ",", '"', "\\", "\\u00", "1e", " "], 20));
    case 4:
      return Buffer.from(`{"text":${pick(random, ["[", '{"a":']).repeat(random.below(1300))}`);
    default:
      return noise(random, random.below(64));
  }
}

const topic = (random: Random) => Array.from({ length: random.below(6) }, () => pick(random, LEVELS)).join("/");

function message(random: Random): IncomingMessage {
  const more: Partial<IncomingMessage> = { topic: random.chance(0.5) ? "pipit/board/ask" : topic(random) };
  if (random.chance(0.3)) more.responseTopic = random.chance(0.7) ? topic(random) : wordy(random, LEVELS, 5);
  if (random.chance(0.3)) more.correlationData = noise(random, random.below(300));
  if (random.chance(0.3)) more.expirySeconds = pick(random, [0, 1, 60, 0xffffffff]);
  if (random.chance(0.3)) {
    const value = () => (random.chance(0.8) ? wordy(random, NAMES, 2) : [wordy(random, NAMES, 2), ""]);
    more.userProperties = { [random.chance(0.5) ? "user" : pick(random, NAMES)]: value() };
  }
  return messageOf(payload(random), more);
}

test("the payload parser", { timeout: TIMEOUT_MS }, async () => {
  let made = 0;
  await fuzz({
    name: "the payload parser",
    make: (random) => ({ message: message(random), route: pick(random, ROUTES) }),
    run({ message, route }) {
      const intake = readQuestion(message, route, { limits: LIMITS, makeId: () => `made-${++made}` });
      const addressee = intake.question ?? intake.addressee;
      if (addressee) {
        expect(topicFault(addressee.replyTopic)).toBeUndefined();
        expect(LIMITS.ownFilters.some((filter) => matchFilter(filter, addressee.replyTopic))).toBe(false);
        expect(addressee.id.length).toBeGreaterThan(0);
        expect(addressee.id.length).toBeLessThanOrEqual(256);
      }
      if (!intake.question) {
        const reply = errorReply(intake.error, route.task);
        expect(reply.code).not.toBe("failed");
        if (intake.addressee)
          JSON.parse(JSON.stringify(new TextDecoder().decode(replyTo(intake.addressee, reply, 1).payload)));
        return reply.code;
      }
      const { question } = intake;
      expect(question.key.length).toBeLessThanOrEqual(512);
      expect(question.sender.length).toBeLessThanOrEqual(160);
      expect(question.deadlineMs).toBeGreaterThan(question.arrivedMs);
      expect(JSON.stringify(recordOf(message, question, 0)).length).toBeGreaterThan(0);
      return "taken";
    },
  });
  expect(Object.getOwnPropertyNames(Object.prototype)).not.toContain("text");
});

test("the payload parser of control verbs", { timeout: TIMEOUT_MS }, async () => {
  const controls = new Controls({ plan: () => ({}), pause: () => undefined }, ["plan"]);
  await fuzz({
    name: "the payload parser of control verbs",
    part: 1 / 4,
    make: (random) => ({
      payload: random.chance(0.5) ? payload(random) : Buffer.from(JSON.stringify(anyJson(random, NAMES))),
      verb: random.chance(0.5) ? "plan" : wordy(random, [...NAMES, "pause", "response"], 2),
    }),
    run: async ({ payload, verb }) => {
      const reply = await controls.handle(messageOf(payload, { topic: `pipit/board/control/${verb}` }), "r");
      const { status, error } = JSON.parse(new TextDecoder().decode(reply.payload)) as Record<
        string,
        { code?: string }
      >;
      expect(error?.code).not.toBe("failed");
      return String(error?.code ?? status);
    },
  });
});
