// An asker who means harm, at a real mosquitto: whatever he sends, the agent answers or ignores it, keeps its connection, and
// answers the next one's question. The engine is a stand-in; everything else is the built agent.
import { connectAsync } from "mqtt";
import type { IClientPublishOptions, MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ChaosAgent, DEVICE } from "../chaos/agent.ts";
import { Mailbox } from "../fakes/mailbox.ts";
import { mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";
import type { Mosquitto } from "../fixtures/mosquitto.ts";

interface Reply {
  id: string;
  status: string;
  error?: { code: string; message: string };
}

const ROOT = `pipit/${DEVICE}`;
const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`key ${index}`, "v"]));

describe.skipIf(mosquittoMissing)("a hostile asker", () => {
  let broker: Mosquitto;
  let agent: ChaosAgent;
  let mallory: MqttClient;
  const replies = new Mailbox<Reply>();
  const responses = new Mailbox<Reply>();
  const elsewhere = new Mailbox<string>();
  const availability: string[] = [];

  beforeAll(async () => {
    broker = await startMosquitto();
    agent = new ChaosAgent({ brokerUrl: broker.url });
    mallory = await connectAsync(broker.url, { protocolVersion: 5, reconnectPeriod: 0 });
    const online = new Promise<void>((resolve) => {
      mallory.on("message", (topic, payload) => {
        const text = payload.toString();
        if (topic === `${ROOT}/availability`) resolve(void availability.push(text));
        else if (topic === `${ROOT}/answer`) replies.put(JSON.parse(text) as Reply);
        else if (topic === `${ROOT}/control/response`) responses.put(JSON.parse(text) as Reply);
        else elsewhere.put(`${topic} ${(JSON.parse(text) as Reply).status}`);
      });
    });
    await mallory.subscribeAsync(
      ["availability", "answer", "control/response"].map((word) => `${ROOT}/${word}`),
      { qos: 1 },
    );
    await mallory.subscribeAsync("loot/#", { qos: 1 });
    agent.start();
    await online;
  });

  afterAll(async () => {
    await mallory?.endAsync(true);
    await agent?.stop();
    await broker?.stop();
  });

  const send = (payload: unknown, more: IClientPublishOptions = {}, word = "ask") =>
    mallory.publishAsync(`${ROOT}/${word}`, typeof payload === "string" ? payload : JSON.stringify(payload), {
      qos: 1,
      ...more,
    });

  test.each([
    ["a control character, which makes mosquitto cut the agent off", "a\u0001b"],
    ["a character that is none", "a\ufdd0b"],
    ["half a character", "a\ud800b"],
    ["201 levels, which mosquitto takes for an attack", "x/".repeat(200) + "x"],
    ["the agent's availability", `${ROOT}/availability`],
    ["the agent's state", `${ROOT}/state`],
    ["the answer to a control verb", `${ROOT}/control/response`],
    ["a control verb of another agent", "pipit/other/control/pause"],
    ["the questions of another agent", "pipit/other/ask"],
    ["the questions of a pool", "pipit/pool/kitchen/ask"],
    ["everybody", "#"],
    ["the broker itself", "$SYS/broker/uptime"],
  ])("gets no reply to %s", async (_, topic) => {
    await send({ text: "Why?", id: topic.slice(0, 20), reply_to: topic });
    const reply = await replies.take();
    expect(reply).toMatchObject({ id: topic.slice(0, 20), error: { code: "not_allowed" } });
    expect(reply.error?.message.length).toBeLessThan(1000);
  });

  test.each<[what: string, payload: unknown, code: string | undefined, more?: IClientPublishOptions]>([
    ["an id like a property of objects", { text: "Why?", id: "__proto__" }, undefined],
    ["fields like properties of objects", '{"text":"Why?","__proto__":{"id":1},"constructor":{}}', undefined],
    ["JSON nested without end", `{"text":${"[".repeat(60_000)}`, "bad_request"],
    ["a payload over the limit", { text: "x".repeat(70_000) }, "too_large"],
    ["a deadline that is nothing", '{"text":"Why?","deadline_ms":1e-300}', "busy"],
    ["thousands of user properties", { text: "Why?" }, undefined, { properties: { userProperties: many(3000) } }],
    ["a question that is retained, as long as it is new", { text: "Why?" }, undefined, { retain: true }],
  ])("may send %s", async (_, payload, code, more) => {
    await send(payload, more);
    const reply = await replies.take();
    expect(reply.error?.code).toBe(code);
    // What clears a retained question is an empty one.
    await send("", { retain: true });
    expect((await replies.take()).error?.code).toBe("bad_request");
  });

  test("may choose correlation data of any length, and gets it back", async () => {
    for (const length of [0, 60_000]) {
      await send(
        { text: "Why?" },
        { properties: { responseTopic: `loot/${length}`, correlationData: Buffer.alloc(length, 7) } },
      );
      expect(await elsewhere.take()).toBe(`loot/${length} ok`);
    }
  });

  test("gets an error for control verbs that cannot be read", async () => {
    await send(`{"transaction":${"[".repeat(20_000)}${"]".repeat(20_000)}}`, {}, "control/plan");
    expect((await responses.take()).error?.code).toBe("bad_request");
    await send("{}", {}, "control/__proto__");
    expect((await responses.take()).error?.code).toBe("not_allowed");
  });

  test("keeps nobody from being answered by asking 10,000 questions at once", async () => {
    for (let index = 0; index < 10_000; index++) {
      mallory.publish(`${ROOT}/ask`, JSON.stringify({ text: "a", id: `${index}` }), { qos: 0 });
    }
    await send({ text: "Why?", id: "mine" }, { properties: { responseTopic: "loot/somebody else" } });
    await send({ text: "Why?", id: "the end" });
    expect(await elsewhere.take()).toBe("loot/somebody else ok");
    const codes = new Set<string>();
    for (let reply = await replies.take(); reply.id !== "the end"; reply = await replies.take()) {
      codes.add(reply.error?.code ?? "ok");
    }
    expect(["ok", "busy"]).toEqual(expect.arrayContaining([...codes]));
  });

  test("has not made the agent leave once", async () => {
    await send({ text: "Still there?", id: "last" });
    expect((await replies.takeUntil(({ id }) => id === "last")).status).toMatch(/ok|error/);
    expect(agent.running).toBe(true);
    expect(availability).toEqual(["online"]);
  });
});
