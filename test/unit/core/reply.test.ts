import { describe, expect, test } from "vitest";
import { PipitError, RequestError } from "../../../src/core/errors.ts";
import {
  type Addressee,
  errorReply,
  failedInstead,
  partialMessage,
  type Reply,
  replyTo,
} from "../../../src/core/reply.ts";
import { bytes, routeOf } from "../../fixtures/questions.ts";

const addressee: Addressee = {
  id: "q-17",
  replyTopic: "r",
  correlationData: undefined,
  route: routeOf(),
  expiresMs: undefined,
};
const receipt = {
  model: "smollm2-135m-instruct-q4_1",
  usage: { promptTokens: 31, cachedTokens: 20, completionTokens: 3 },
  timing: { queueMs: 3.04, prefillMs: 41.26, generateMs: 105, totalMs: 152 },
  plan: {
    threads: { prefill: 2, decode: 1 },
    contextTokens: 1024,
    batchTokens: 64,
    sequences: 1,
    modelRung: 0,
    modelReason: "as configured",
    reason: "calm",
  },
};
const answer: Reply = { status: "ok", task: "answer", text: "Paris.", finish: "stop", ...receipt };
const label: Reply = {
  status: "ok",
  task: "classify",
  label: "light",
  confidence: 0.912345,
  probabilities: { light: 0.912345, music: 0.087655 },
  margin: 0.82469,
  by: "decoder",
  ...receipt,
};

const payloadOf = (reply: Reply, more: Partial<Addressee> = {}) =>
  new TextDecoder().decode(replyTo({ ...addressee, ...more }, reply, 1000).payload);
const jsonOf = (reply: Reply) => JSON.parse(payloadOf(reply)) as unknown;

describe("a reply as JSON", () => {
  test("of an answer is as the wire contract shows it", () => {
    expect(jsonOf(answer)).toEqual({
      id: "q-17",
      status: "ok",
      task: "answer",
      text: "Paris.",
      finish: "stop",
      model: "smollm2-135m-instruct-q4_1",
      usage: { prompt_tokens: 31, cached_tokens: 20, completion_tokens: 3 },
      timing_ms: { queue: 3, prefill: 41.3, generate: 105, total: 152 },
      plan: expect.objectContaining({ threads: 1, context_tokens: 1024, model_rung: 0, reason: "calm" }),
    });
  });

  test("of a classification has label, confidence, probabilities and who decided", () => {
    expect(jsonOf(label)).toMatchObject({
      task: "classify",
      label: "light",
      confidence: 0.9123,
      probabilities: { light: 0.9123, music: 0.0877 },
      margin: 0.8247,
      by: "decoder",
    });
  });

  test("of an abstention has a label of null", () => {
    expect(jsonOf({ ...label, label: null })).toMatchObject({ status: "ok", label: null });
  });

  test("keeps labels that are names of JavaScript's own", () => {
    const probabilities = JSON.parse('{"__proto__": 0.75, "constructor": 0.25}') as Record<string, number>;
    expect(payloadOf({ ...label, label: "__proto__", probabilities })).toContain(
      '"probabilities":{"__proto__":0.75,"constructor":0.25}',
    );
  });

  test("of an error has code, message and when to ask again", () => {
    const error: Reply = { status: "error", task: "answer", code: "busy", message: "later", retryAfterMs: 2345.6 };
    const expected = { code: "busy", message: "later", retry_after_ms: 2346 };
    expect(jsonOf(error)).toEqual({ id: "q-17", status: "error", task: "answer", error: expected });
  });
});

describe("a reply as text", () => {
  const text = (reply: Reply) => payloadOf(reply, { route: routeOf({ replyForm: "text" }) });

  test("is the answer, the label, the record or the error alone", () => {
    expect(text(answer)).toBe("Paris.");
    expect(text(label)).toBe("light");
    expect(text({ ...label, label: null })).toBe("");
    expect(text({ status: "ok", task: "extract", record: { a: 1 }, finish: "stop", ...receipt })).toBe('{"a":1}');
    expect(text({ status: "error", task: "answer", code: "busy", message: "later" })).toBe("error: busy: later");
  });
});

describe("a reply as a message", () => {
  test("carries content type, format and correlation data", () => {
    const message = replyTo({ ...addressee, correlationData: bytes("c") }, answer, 1000);
    expect(message).toMatchObject({
      topic: "r",
      contentType: "application/json",
      text: true,
      correlationData: bytes("c"),
    });
    expect(message).not.toHaveProperty("expirySeconds");
    expect(message).not.toHaveProperty("userProperties");
  });

  test.each([
    [3500, 3],
    [1001, 1],
    [1000, 1],
    [0, 1],
  ])("that expires at %d ms has %d s left at 1000 ms, never 0", (expiresMs, expirySeconds) => {
    expect(replyTo({ ...addressee, expiresMs }, answer, 1000).expirySeconds).toBe(expirySeconds);
  });

  test("of an error says so in user properties, for readers of any form", () => {
    const message = replyTo(addressee, errorReply(new RequestError("busy", "later"), "answer"), 0);
    expect(message.userProperties).toEqual({ status: "error", code: "busy" });
  });
});

describe("a failure in the place of a reply", () => {
  test.each([
    ["json", '{"id":"q-17","status":"error","task":"classify","error":{"code":"failed","message":"too long"}}'],
    ["text", "error: failed: too long"],
  ] as const)("as %s keeps whom it goes to and has nothing of the answer", (replyForm, payload) => {
    const route = routeOf({ replyForm });
    const full = replyTo({ ...addressee, route, correlationData: bytes("c"), expiresMs: 5000 }, label, 0);
    expect(failedInstead(full, "too long")).toEqual({
      ...full,
      payload: bytes(payload),
      userProperties: { status: "error", code: "failed" },
    });
  });
});

describe("what went wrong becomes", () => {
  const cases: [what: string, thrown: unknown, code: string, message: string][] = [
    ["its own code for a fault of the sender", new RequestError("too_long", "no"), "too_long", "no"],
    [
      "model_unavailable while there is no model",
      new PipitError("transient", "model_unavailable", "no"),
      "model_unavailable",
      "no",
    ],
    ["failed for everything else", new PipitError("bug", "engine_failed", "no"), "failed", "no"],
    ["failed for any error", new TypeError("no"), "failed", "no"],
    ["failed for what is no error", "no", "failed", "no"],
  ];
  test.each(cases)("%s", (_, thrown, code, message) => {
    expect(errorReply(thrown, "answer")).toEqual({ status: "error", task: "answer", code, message });
  });
});

test("a streamed piece goes below the reply topic", () => {
  const { topic, payload } = partialMessage({ id: "q", replyTopic: "r", correlationData: undefined }, 2, "é", true);
  expect(topic).toBe("r/partial");
  expect(new TextDecoder().decode(payload)).toBe('{"id":"q","seq":2,"text":"é","final":true}');
});
