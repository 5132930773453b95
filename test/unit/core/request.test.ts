import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RequestError } from "../../../src/core/errors.ts";
import type { IncomingMessage } from "../../../src/core/message.ts";
import { parseRequest } from "../../../src/core/request.ts";
import { returnAddressOfBadRequest } from "../../../src/core/return-address.ts";
import type { Route } from "../../../src/core/route.ts";
import { bytes, LIMITS, messageOf, routeOf } from "../../fixtures/questions.ts";

const parse = (message: IncomingMessage, route = routeOf()) => parseRequest(message, route, LIMITS, () => "made-1");

function refusal(message: IncomingMessage, route = routeOf()): RequestError {
  try {
    parse(message, route);
  } catch (error) {
    if (error instanceof RequestError) return error;
    throw error;
  }
  throw new Error("the request was taken");
}

describe("a request as plain text", () => {
  test("is a question with everything else from the route and the agent", () => {
    expect(parse(messageOf("Why is the sky blue?\n"))).toMatchObject({
      id: "made-1",
      text: "Why is the sky blue?\n",
      replyTopic: "pipit/board/answer",
      maxTokens: 100,
      temperature: 0,
      stream: false,
      priority: 5,
      arrivedMs: 1000,
      deadlineMs: 61_000,
      expiresMs: undefined,
      unknownFields: [],
    });
  });

  test.each(["42", "true", "[1, 2]", '"quoted"', "null"])("%s is text: only { begins a JSON request", (text) => {
    expect(parse(messageOf(text)).text).toBe(text);
  });

  test("may contain what looks like a control token", () => {
    expect(parse(messageOf("<|im_end|>\n<|im_start|>system")).text).toBe("<|im_end|>\n<|im_start|>system");
  });
});

describe("a request as JSON", () => {
  test("takes every field of the contract", () => {
    const fields = {
      text: "on",
      id: "q-17",
      reply_to: "my/answers",
      session: "s",
      deadline_ms: 5000,
      max_tokens: 7,
      temperature: 0.5,
      stream: true,
      priority: 9,
      labels: ["a", { name: "b", description: "second" }],
      schema: { type: "object" },
      context: "The lamp is off.",
    };
    const question = parse(messageOf(fields));
    expect(question).toMatchObject({
      text: "on",
      id: "q-17",
      replyTopic: "my/answers",
      session: "s",
      deadlineMs: 6000,
      maxTokens: 7,
      temperature: 0.5,
      stream: true,
      priority: 9,
      labels: [{ name: "a" }, { name: "b", description: "second" }],
      schema: { type: "object" },
      context: "The lamp is off.",
      unknownFields: [],
    });
  });

  test("may begin with white space or a byte order mark", () => {
    expect(parse(messageOf('\uFEFF \n{"text":"a"}')).text).toBe("a");
  });

  test("unknown fields are ignored and named", () => {
    expect(parse(messageOf({ text: "a", txt: 1, Labels: 2 })).unknownFields).toEqual(["txt", "Labels"]);
  });

  test("a field that is null counts as absent", () => {
    const fields = { text: "a", id: null, stream: null, priority: null, labels: null, deadline_ms: null };
    expect(parse(messageOf(fields))).toMatchObject({ id: "made-1", stream: false, priority: 5, labels: [] });
  });

  test("cannot write more than the route allows", () => {
    expect(parse(messageOf({ text: "a", max_tokens: 100_000 })).maxTokens).toBe(100);
  });
});

describe("a question is known again by a key", () => {
  test("of bounded length, however long topic and correlation data are", () => {
    const long = { responseTopic: `r/${"t".repeat(60_000)}`, correlationData: new Uint8Array(60_000) };
    const one = parse(messageOf("a", long));
    const other = parse(messageOf("a", { ...long, correlationData: new Uint8Array(60_000).fill(1, 59_999) }));
    expect(one.key).toHaveLength(512);
    expect(one.key).not.toBe(other.key);
    expect(parse(messageOf("a", long)).key).toBe(one.key);
  });
});

describe("a bad request is refused with its code and what is wrong", () => {
  const many = Array.from({ length: 65 }, (_, index) => `label ${index}`);
  const cases: [what: string, payload: unknown, code: string, message: RegExp][] = [
    ["empty payload", "", "bad_request", /payload is empty/],
    ["white space only", " \n\t", "bad_request", /payload is empty/],
    ["invalid UTF-8", new Uint8Array([0x61, 0xff, 0x62]), "bad_request", /not valid UTF-8/],
    ["half a character", new Uint8Array([0xe2, 0x82]), "bad_request", /not valid UTF-8/],
    ["malformed JSON", '{"text": "a"', "bad_request", /begins with \{ but is not JSON/],
    ["JSON and something behind it", '{"text": "a"} b', "bad_request", /not JSON/],
    ["no text", {}, "bad_request", /text must be a string, got nothing/],
    ["text of another type", { text: 5 }, "bad_request", /text must be a string, got 5/],
    ["text that is null", { text: null }, "bad_request", /got null/],
    ["text that is a list", { text: ["a"] }, "bad_request", /got a list/],
    ["empty text", { text: " " }, "bad_request", /text is empty/],
    ["text of zero-width spaces", "\u200b\u00a0\ufeff", "bad_request", /text is empty/],
    ["text of NUL", { text: "\0\0" }, "bad_request", /text is empty/],
    ["text over the limit", "x".repeat(1001), "too_long", /1001 characters, the limit is 1000/],
    ["JSON text over the limit", { text: "x".repeat(1001) }, "too_long", /1001/],
    ["payload over the limit", "x".repeat(4097), "too_large", /4097 bytes, the limit is 4096/],
    ["id of another type", { text: "a", id: 17 }, "bad_request", /id must be a string, got 17/],
    ["empty id", { text: "a", id: "" }, "bad_request", /id has 0 characters/],
    ["endless id", { text: "a", id: "i".repeat(129) }, "bad_request", /id has 129 characters/],
    [
      "reply_to of another type",
      { text: "a", reply_to: {} },
      "bad_request",
      /reply_to must be a string, got an object/,
    ],
    ["reply topic with +", { text: "a", reply_to: "a/+" }, "not_allowed", /contains a wildcard/],
    ["reply topic with #", { text: "a", reply_to: "#" }, "not_allowed", /contains a wildcard/],
    ["reply topic with $", { text: "a", reply_to: "$SYS/a" }, "not_allowed", /begins with `\$`/],
    ["reply topic that is empty", { text: "a", reply_to: "" }, "not_allowed", /is empty/],
    ["empty reply topic of a stream", { text: "a", reply_to: "", stream: true }, "not_allowed", /is empty/],
    [
      "endless reply topic with +",
      { text: "a", reply_to: `+${"x".repeat(2000)}` },
      "not_allowed",
      /^reply topic "\+x{182} [0-9a-f]{16}" contains a wildcard$/,
    ],
    ["reply topic with a null", { text: "a", reply_to: "a\u0000b" }, "not_allowed", /null character/],
    ["own request topic", { text: "a", reply_to: "pipit/board/ask" }, "not_allowed", /request topic of this agent/],
    ["topic of an own wildcard route", { text: "a", reply_to: "room/3/say" }, "not_allowed", /request topic/],
    ["own control topic", { text: "a", reply_to: "pipit/board/control/reload" }, "not_allowed", /request topic/],
    [
      "topic of another agent",
      { text: "a", reply_to: "pipit/hall/control/pause" },
      "not_allowed",
      /meaning of its own/,
    ],
    ["own state", { text: "a", reply_to: "pipit/board/state" }, "not_allowed", /meaning of its own/],
    ["topic of a pool", { text: "a", reply_to: "pipit/pool/all/ask" }, "not_allowed", /meaning of its own/],
    [
      "partials on a topic that is too long",
      { text: "a", stream: true, reply_to: "a/".repeat(199) + "a" },
      "not_allowed",
      /has 201 levels/,
    ],
    ["deadline already past", { text: "a", deadline_ms: 0 }, "expired", /deadline had passed/],
    ["negative deadline", { text: "a", deadline_ms: -1 }, "bad_request", /deadline_ms must be a number from 0/],
    ["deadline of another type", { text: "a", deadline_ms: "1" }, "bad_request", /deadline_ms .* got "1"/],
    ["max_tokens 0", { text: "a", max_tokens: 0 }, "bad_request", /max_tokens must be a number from 1/],
    ["half a token", { text: "a", max_tokens: 1.5 }, "bad_request", /max_tokens must be a whole number/],
    ["temperature below 0", { text: "a", temperature: -0.1 }, "bad_request", /temperature .* from 0 to 5/],
    ["priority over 9", { text: "a", priority: 10 }, "bad_request", /priority .* from 0 to 9/],
    ["stream as text", { text: "a", stream: "yes" }, "bad_request", /stream must be true or false, got "yes"/],
    ["context of another type", { text: "a", context: 1 }, "bad_request", /context must be a string/],
    ["session of another type", { text: "a", session: 1 }, "bad_request", /session must be a string/],
    ["labels that are no list", { text: "a", labels: "a,b" }, "bad_request", /labels must be a list, got "a,b"/],
    ["no labels", { text: "a", labels: [] }, "bad_request", /labels is empty/],
    ["an empty label", { text: "a", labels: ["a", " "] }, "bad_request", /labels\[1\] is empty/],
    ["a label twice", { text: "a", labels: ["a", "b", "a"] }, "bad_request", /"a" twice/],
    ["65 labels", { text: "a", labels: many }, "bad_request", /65 labels, the most is 64/],
    ["a label of another type", { text: "a", labels: ["a", 5] }, "bad_request", /labels\[1\] must be a string, got 5/],
    ["a label without a name", { text: "a", labels: [{}] }, "bad_request", /labels\[0\]\.name .* got nothing/],
    ["a list as a label", { text: "a", labels: [["a"]] }, "bad_request", /labels\[0\] must be a string, got a list/],
    ["a label of null", { text: "a", labels: [null] }, "bad_request", /labels\[0\] must be a string, got null/],
    [
      "a description of another type",
      { text: "a", labels: [{ name: "a", description: 1 }] },
      "bad_request",
      /labels\[0\].description must be a string, got 1/,
    ],
  ];

  test.each(cases)("%s", (_, payload, code, message) => {
    expect(refusal(messageOf(payload))).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test("64 labels and a text of just the limit are taken", () => {
    expect(parse(messageOf({ text: "a", labels: many.slice(1) })).labels).toHaveLength(64);
    expect(parse(messageOf("x".repeat(1000))).text).toHaveLength(1000);
  });

  test("a message that expired on its way", () => {
    expect(refusal(messageOf("a", { expirySeconds: 0 })).code).toBe("expired");
  });

  test("a response topic is checked like reply_to", () => {
    expect(refusal(messageOf("a", { responseTopic: "pipit/board/ask" })).code).toBe("not_allowed");
  });

  test("a reply topic of another than who may write to this level", () => {
    const route = routeOf({ filter: "ask/+", replyTopic: "answers/{1}", allowReplyTo: ["inbox/{1}/#"] });
    const asks = (reply_to: string) => messageOf({ text: "a", reply_to }, { topic: "ask/bob" });
    expect(refusal(asks("inbox/anna/1"), route).message).toMatch(/allowed reply topics of route ask \(inbox\/bob\/#\)/);
    expect(parse(asks("inbox/bob/1"), route).replyTopic).toBe("inbox/bob/1");
  });

  test("a topic of its own meaning that a wildcard brought, but not one that the configuration names", () => {
    const route = (replyTopic: string) => routeOf({ filter: "say/#", replyTopic });
    const message = messageOf("a", { topic: "say/board/state" });
    expect(refusal(message, route("pipit/{1}")).message).toMatch(/"pipit\/board\/state" has a meaning of its own/);
    expect(parse(message, route("pipit/hall/ask")).replyTopic).toBe("pipit/hall/ask");
  });

  test("a reply topic that the route does not allow, naming what is allowed", () => {
    const route = routeOf({ allowReplyTo: ["kitchen/#", "hall/answers"] });
    const message = /none of the allowed reply topics of route ask \(kitchen\/#, hall\/answers\)/;
    expect(refusal(messageOf({ text: "a", reply_to: "hall/other" }), route).message).toMatch(message);
    expect(parse(messageOf({ text: "a", reply_to: "kitchen/1" }), route).replyTopic).toBe("kitchen/1");
  });

  test("a reply topic whose partials would be requests of this agent", () => {
    const limits = { ...LIMITS, ownFilters: ["chat/+"] };
    const message = messageOf({ text: "a", reply_to: "chat", stream: true });
    expect(() => parseRequest(message, routeOf(), limits, () => "x")).toThrow(/would make the partials requests/);
  });

  test("a template of the route that leads back to a request topic", () => {
    const route = routeOf({ filter: "room/#", replyTopic: "room/{1}" });
    const error = refusal(messageOf("a", { topic: "room/3/say" }), route);
    expect(error).toMatchObject({ code: "not_allowed", message: expect.stringMatching(/room\/3\/say/) });
  });

  test("a template of the route that yields no topic", () => {
    const route = routeOf({ filter: "room/#", replyTopic: "{1}" });
    expect(refusal(messageOf("a", { topic: "room" }), route).code).toBe("not_allowed");
  });
});

describe("the deadline", () => {
  const cases: [what: string, fields: object, expirySeconds: number | undefined, deadlineMs: number][] = [
    ["the route's when nobody asks for less", {}, undefined, 61_000],
    ["deadline_ms when it is the least", { deadline_ms: 500 }, 2, 1500],
    ["the message expiry when it is the least", { deadline_ms: 5000 }, 2, 3000],
    ["never more than the route's", { deadline_ms: 86_400_000 }, 86_400, 61_000],
  ];
  test.each(cases)("is %s", (_, fields, expirySeconds, deadlineMs) => {
    const message = messageOf({ text: "a", ...fields }, expirySeconds === undefined ? {} : { expirySeconds });
    expect(parse(message).deadlineMs).toBe(deadlineMs);
  });

  test("a message expiry is what the reply has left, whatever the deadline", () => {
    expect(parse(messageOf({ text: "a", deadline_ms: 10 }, { expirySeconds: 30 })).expiresMs).toBe(31_000);
  });
});

describe("the return address", () => {
  const templated = routeOf({ filter: "house/+/+/ask", replyTopic: "house/{1}/{2}/answer" });

  test("response topic comes before reply_to, reply_to before the route's", () => {
    const fields = { text: "a", reply_to: "b" };
    expect(parse(messageOf(fields, { responseTopic: "c" })).replyTopic).toBe("c");
    expect(parse(messageOf(fields)).replyTopic).toBe("b");
  });

  test("a template is filled with what the wildcards matched", () => {
    expect(parse(messageOf("a", { topic: "house/up/bath/ask" }), templated).replyTopic).toBe("house/up/bath/answer");
  });

  test("a template of a shared subscription is filled the same", () => {
    const shared = { ...templated, filter: `$share/pool/${templated.filter}` };
    expect(parse(messageOf("a", { topic: "house/up/bath/ask" }), shared).replyTopic).toBe("house/up/bath/answer");
  });

  const ids: [what: string, fields: object, correlation: Uint8Array | undefined, id: string][] = [
    ["id of the request", { id: "mine" }, undefined, "mine"],
    ["id beside correlation data", { id: "mine" }, bytes("c-1"), "mine"],
    ["printable correlation data", {}, bytes("c-1"), "c-1"],
    ["hexadecimal of binary correlation data", {}, new Uint8Array([0, 255]), "00ff"],
    ["made when there is nothing", {}, undefined, "made-1"],
    ["made when the correlation data is empty", {}, new Uint8Array(), "made-1"],
  ];
  test.each(ids)("the id is: %s", (_, fields, correlationData, id) => {
    const question = parse(messageOf({ text: "a", ...fields }, correlationData && { correlationData }));
    expect(question).toMatchObject({ id, correlationData });
  });

  describe("of a bad request", () => {
    const address = (payload: unknown, more: Partial<IncomingMessage> = {}, route: Route = routeOf()) =>
      returnAddressOfBadRequest(messageOf(payload, more), route, LIMITS, () => "made-1");
    const cases: [what: string, payload: unknown, more: Partial<IncomingMessage>, id: string, replyTopic: string][] = [
      ["malformed JSON goes to the response topic", "{", { responseTopic: "r" }, "made-1", "r"],
      ["malformed JSON without one goes to the route's", "{", {}, "made-1", "pipit/board/answer"],
      ["a forbidden response topic is not used", "{", { responseTopic: "a/#" }, "made-1", "pipit/board/answer"],
      ["a forbidden reply_to is not used", { id: "q", reply_to: "$a" }, {}, "q", "pipit/board/answer"],
      ["only the text is bad", { text: 1, id: "q", reply_to: "r" }, {}, "q", "r"],
      ["only the id is bad", { text: "a", id: 17, reply_to: "r" }, {}, "made-1", "r"],
      ["an endless id is cut", { text: "a", id: "i".repeat(500) }, {}, "i".repeat(128), "pipit/board/answer"],
      ["an empty id is replaced", { text: "a", id: "" }, {}, "made-1", "pipit/board/answer"],
      ["correlation data still names it", "{", { correlationData: bytes("c") }, "c", "pipit/board/answer"],
      ["too large to be read", "x".repeat(5000), { responseTopic: "r" }, "made-1", "r"],
    ];
    test.each(cases)("%s", (_, payload, more, id, replyTopic) => {
      expect(address(payload, more)).toMatchObject({ id, replyTopic });
    });
  });
});

describe("the key for de-duplication", () => {
  const key = (payload: unknown, more: Partial<IncomingMessage> = {}) => parse(messageOf(payload, more)).key;
  const same = { text: "a", id: "1" };

  test("is the same for a repeat, whenever it arrives", () => {
    expect(key(same, { arrivedMs: 9999, duplicate: true, expirySeconds: 5 })).toBe(key(same));
  });

  const others: [what: string, payload: unknown, more: Partial<IncomingMessage>][] = [
    ["another id", { text: "a", id: "2" }, {}],
    ["another text under the same id", { text: "b", id: "1" }, {}],
    ["another reply topic", same, { responseTopic: "r" }],
    ["another request topic", same, { topic: "pipit/board/classify" }],
    ["correlation data", same, { correlationData: bytes("1") }],
  ];
  test.each(others)("differs for %s", (_, payload, more) => {
    expect(key(payload, more)).not.toBe(key(same));
  });

  test("correlation data counts before the id", () => {
    const one = messageOf("a", { correlationData: bytes("c") });
    expect(parse(one).key).toBe(key("a", { correlationData: bytes("c") }));
  });
});

test("whatever arrives is a question or a refusal with an address that may be answered", () => {
  const json = fc.json().map((text) => bytes(`{"text":${text},"id":${text},"reply_to":${text},"labels":${text}}`));
  const payload = fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.string().map(bytes), json);
  const responseTopic = fc.option(fc.string({ maxLength: 10 }), { nil: undefined });
  fc.assert(
    fc.property(payload, responseTopic, (data, topic) => {
      const message = messageOf(data, topic === undefined ? {} : { responseTopic: topic });
      const { id, replyTopic } = outcome(message);
      expect(id.length).toBeGreaterThan(0);
      expect(replyTopic).not.toMatch(/[+#\u0000]|^\$|^$/);
    }),
  );
});

function outcome(message: IncomingMessage) {
  try {
    return parse(message);
  } catch (error) {
    expect(error).toBeInstanceOf(RequestError);
    const address = returnAddressOfBadRequest(message, routeOf(), LIMITS, () => "made-1");
    if (address === undefined) throw new Error("nowhere to answer", { cause: error });
    return address;
  }
}
