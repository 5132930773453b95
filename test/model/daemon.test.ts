// The built program, `dist/main.js run`, with the real model against a real mosquitto: what a user gets.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import mqtt, { type IClientPublishOptions, type IPublishPacket, type MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DaemonUnderTest, startDaemon } from "../fixtures/daemon.ts";
import { type Mosquitto, mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";

type Json = Record<string, unknown>;

describe.skipIf(mosquittoMissing !== undefined)(`the built daemon on mosquitto${mosquittoMissing ?? ""}`, () => {
  let broker: Mosquitto;
  let daemon: DaemonUnderTest;
  let asker: Asker;

  beforeAll(async () => {
    broker = await startMosquitto({ persistence: true });
    daemon = await startDaemon(broker.url, {
      "model.encoder": "none",
      routes: JSON.stringify([
        { filter: "home/+/say", task: "answer", reply_topic: "home/{1}/answer", reply_form: "text", max_tokens: 16 },
      ]),
    });
    asker = await Asker.connect(broker.url, 5);
  });
  afterAll(async () => {
    await asker?.close();
    await daemon?.stop();
    await broker?.stop();
  });

  test("answers a plain question, and the capital of France is Paris", async () => {
    const reply = await asker.question("pipit/board/ask", "What is the capital of France?", "pipit/board/answer");
    expect(reply["text"]).toContain("Paris");
    expect(reply).toMatchObject({ status: "ok", task: "answer", finish: "stop", plan: { model_rung: 0 } });
  });

  test("answers to the response topic with the correlation data, content type and what is left of the expiry", async () => {
    const correlationData = Buffer.from([0, 255, 7]);
    const packet = await asker.packet("pipit/board/ask", "Name a colour.", "askers/me", {
      properties: { responseTopic: "askers/me", correlationData, messageExpiryInterval: 50 },
    });
    expect(packet.properties?.correlationData).toEqual(correlationData);
    expect(packet.properties).toMatchObject({ contentType: "application/json", payloadFormatIndicator: true });
    expect(packet.properties?.messageExpiryInterval).toBeGreaterThan(30);
    expect(packet.qos).toBe(1);
    expect(packet.retain).toBe(false);
  });

  test("serves MQTT 3.1.1 by id and reply_to", async () => {
    const old = await Asker.connect(broker.url, 4);
    const question = JSON.stringify({ text: "What is the capital of Italy?", id: "q-1", reply_to: "askers/old" });
    expect(await old.question("pipit/board/ask", question, "askers/old")).toMatchObject({ id: "q-1", status: "ok" });
    await old.close();
  });

  test("streams pieces that join to the text of the reply", async () => {
    const pieces: Json[] = [];
    await asker.listen("askers/stream/partial", ({ payload }) => pieces.push(jsonOf(payload)));
    const question = JSON.stringify({ text: "Count from one to ten.", stream: true, reply_to: "askers/stream" });
    const reply = await asker.question("pipit/board/ask", question, "askers/stream");
    expect(pieces.map((piece) => piece["text"]).join("")).toBe(reply["text"]);
    expect(pieces.map((piece) => piece["seq"])).toEqual(pieces.map((_, index) => index));
    expect(pieces.map((piece) => piece["final"])).toEqual(pieces.map((_, index) => index === pieces.length - 1));
  });

  test("classifies by the labels of the request", async () => {
    const labels = ["lights", "music"];
    const question = JSON.stringify({ text: "switch on the lamp", labels, reply_to: "askers/label" });
    const reply = await asker.question("pipit/board/classify", question, "askers/label");
    expect(reply).toMatchObject({ status: "ok", task: "classify", label: "lights", by: "decoder" });
    expect(Object.keys(reply["probabilities"] as object)).toEqual(labels);
  });

  test("routes by wildcard, and answers in plain text where the route says so", async () => {
    const { payload } = await asker.packet("home/porch/say", "Who are you?", "home/porch/answer");
    expect(payload.toString()).not.toMatch(/^\{/);
    expect(payload.length).toBeGreaterThan(0);
  });

  test("finds the static prefix of the last question in the cache", async () => {
    const reply = await asker.question("pipit/board/ask", "Who wrote Romeo and Juliet?", "pipit/board/answer");
    expect((reply["usage"] as Json)["cached_tokens"]).toBeGreaterThan(10);
  });

  test("cancels a running answer", async () => {
    const question = JSON.stringify({
      text: "Write a long story.",
      id: "c-1",
      stream: true,
      reply_to: "askers/cancel",
    });
    await asker.listen("askers/cancel/partial", () => void asker.publish("pipit/board/cancel", '{"id":"c-1"}'));
    const reply = await asker.question("pipit/board/ask", question, "askers/cancel");
    expect(reply).toMatchObject({ id: "c-1", status: "error", error: { code: "cancelled" } });
  });

  test("ignores a retained question, refuses a loop, and goes on", async () => {
    await asker.publish("pipit/board/ask", '{"text":"retained","reply_to":"askers/retained"}', { retain: true });
    const loop = JSON.stringify({ text: "hello", id: "loop", reply_to: "pipit/board/ask" });
    const reply = await asker.question("pipit/board/ask", loop, "pipit/board/answer");
    expect(reply).toMatchObject({ status: "error", error: { code: "not_allowed" } });
    await asker.publish("pipit/board/ask", "", { retain: true });
  });

  test("answers the running question although the model's process is killed, once and for all", async () => {
    const question = JSON.stringify({ text: "Write a poem.", max_tokens: 64, stream: true, reply_to: "askers/killed" });
    let killed = false;
    await asker.listen("askers/killed/partial", () => {
      if (killed) return;
      killed = true;
      process.kill(childOf(daemon.pid), "SIGKILL");
    });
    expect(await asker.question("pipit/board/ask", question, "askers/killed")).toMatchObject({ status: "ok" });
    await asker.until("pipit/board/state", (state) => state["engine_deaths"] === 1);
  });

  test("goes on with a conversation, also when the model's process was killed in between, and only for its sender", async () => {
    const say = (text: string, replyTo = "askers/anna") =>
      asker.question("pipit/board/ask", JSON.stringify({ text, session: "kitchen", reply_to: replyTo }), replyTo);
    expect(await say("My dog is called Rex. Say hello to him.")).toMatchObject({ session: { turns: 0 } });
    process.kill(childOf(daemon.pid), "SIGKILL");
    const reply = await say("What is the name of my dog?");
    expect(reply).toMatchObject({ status: "ok", session: { name: "kitchen", turns: 1, forgotten: 0 } });
    expect(reply["text"]).toContain("Rex");
    const stranger = await say("What is the name of my dog?", "askers/mallory");
    expect(stranger).toMatchObject({ status: "ok", session: { turns: 0 } });
    expect(stranger["text"]).not.toContain("Rex");
  });

  test("comes back after a restart of the broker and answers what was asked meanwhile", async () => {
    await asker.close();
    await broker.restart();
    asker = await Asker.connect(broker.url, 5);
    const question = JSON.stringify({ text: "What is two plus two?", reply_to: "askers/again" });
    expect(await asker.question("pipit/board/ask", question, "askers/again")).toMatchObject({ status: "ok" });
  });

  test("stops within 5 s in the middle of an answer, says offline, and exits with 0", async () => {
    const question = JSON.stringify({ text: "Write a very long story.", stream: true, reply_to: "askers/stop" });
    const begun = new Promise<void>((resolve) => void asker.listen("askers/stop/partial", () => resolve()));
    await asker.publish("pipit/board/ask", question);
    await begun;
    const startedMs = performance.now();
    expect(await daemon.stop()).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(5000);
    expect(await asker.retainedText("pipit/board/availability")).toBe("offline");
  });
});

describe("dist/main.js", () => {
  test("lists its commands, and every command explains itself", () => {
    const run = (...args: string[]) => execFileSync(process.execPath, ["dist/main.js", ...args]).toString();
    const commands = [...run("--help").matchAll(/^ {2}([a-z-]+) {2}/gm)].map(([, name = ""]) => name);
    expect(commands).toEqual(expect.arrayContaining(["run", "ask", "classify", "models", "doctor", "check-config"]));
    for (const name of commands) expect(run(name, "--help")).toContain(`pipit ${name}`);
    expect(run("--version")).toBe(`pipit ${(jsonOf(readFileSync("package.json")) as { version: string }).version}\n`);
  });
});

/** Some MQTT client, not ours. */
class Asker {
  readonly #client: MqttClient;
  readonly #listeners = new Map<string, (packet: IPublishPacket) => void>();

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on("message", (topic, _, packet) => this.#listeners.get(topic)?.(packet));
  }

  static async connect(url: string, protocolVersion: 4 | 5): Promise<Asker> {
    return new Asker(await mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0 }));
  }

  async listen(topic: string, listener: (packet: IPublishPacket) => void): Promise<void> {
    this.#listeners.set(topic, listener);
    await this.#client.subscribeAsync(topic, { qos: 1 });
  }

  async publish(topic: string, payload: string, options: IClientPublishOptions = {}): Promise<void> {
    await this.#client.publishAsync(topic, payload, { qos: 1, ...options });
  }

  async packet(topic: string, payload: string, replyTopic: string, options: IClientPublishOptions = {}) {
    let taken: (packet: IPublishPacket) => void = () => {};
    const reply = new Promise<IPublishPacket>((resolve) => (taken = resolve));
    await this.listen(replyTopic, (packet) => taken(packet));
    await this.publish(topic, payload, options);
    return reply;
  }

  async question(topic: string, payload: string, replyTopic: string): Promise<Json> {
    return jsonOf((await this.packet(topic, payload, replyTopic)).payload);
  }

  async retainedText(topic: string): Promise<string> {
    let taken: (packet: IPublishPacket) => void = () => {};
    const message = new Promise<IPublishPacket>((resolve) => (taken = resolve));
    await this.listen(topic, (packet) => taken(packet));
    return (await message).payload.toString();
  }

  /** Resolves with the first message on the topic, a retained one included, that satisfies. */
  async until(topic: string, satisfies: (message: Json) => boolean): Promise<void> {
    let seen = () => {};
    const message = new Promise<void>((resolve) => (seen = resolve));
    await this.listen(topic, ({ payload }) => satisfies(jsonOf(payload)) && seen());
    await message;
  }

  async close(): Promise<void> {
    await this.#client.endAsync();
  }
}

function jsonOf(payload: Buffer | string): Json {
  return JSON.parse(payload.toString()) as Json;
}

function childOf(pid: number): number {
  return Number(
    execFileSync("pgrep", ["-P", String(pid), "-f", "engine/child"])
      .toString()
      .trim(),
  );
}
