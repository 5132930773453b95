// What MQTT.js and the link do on the wire, packet by packet. The first group guards late-ack.ts, which leans on the inside
// of MQTT.js: a new version that changes it fails here.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { PipitError } from "../../src/core/errors.ts";
import type { IncomingMessage } from "../../src/core/message.ts";
import type { LinkStatus } from "../../src/core/ports.ts";
import { MqttLink } from "../../src/mqtt/link.ts";
import type { LinkOptions } from "../../src/mqtt/link-options.ts";
import { FakeClock } from "../fakes/clock.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { Mailbox } from "../fakes/mailbox.ts";
import { accept, acknowledge, refuse, ScriptedBroker } from "../fixtures/scripted-broker.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";

const ASK = "pipit/board/ask";
const ANSWER = "pipit/board/answer";
const AVAILABILITY = "pipit/board/availability";
const text = (bytes: Uint8Array | string) => (typeof bytes === "string" ? bytes : new TextDecoder().decode(bytes));
const bytes = (value: string) => new TextEncoder().encode(value);

let cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

async function scripted(): Promise<ScriptedBroker> {
  const broker = new ScriptedBroker();
  await broker.start();
  cleanups.push(() => broker.stop());
  return broker;
}

interface Held {
  message: IncomingMessage;
  resolve(): void;
  reject(error: Error): void;
}

async function linkTo(broker: ScriptedBroker, options: Partial<LinkOptions> = {}, clock = systemClock) {
  const held = new Mailbox<Held>();
  const online = new Mailbox<LinkStatus>();
  const states = new Mailbox<LinkStatus>();
  const logger = new FakeLogger();
  const link = new MqttLink(
    {
      url: broker.url,
      clientId: "board",
      filters: [ASK],
      availabilityTopic: AVAILABILITY,
      backoff: { minMs: 1, maxMs: 5 },
      stopTimeoutMs: 100,
      ...options,
    },
    {
      onMessage: (message) => new Promise((resolve, reject) => held.put({ message, resolve, reject })),
      onOnline: (status) => online.put(status),
      onStatus: (status) => states.put(status),
    },
    logger,
    clock,
  );
  cleanups.push(() => link.stop());
  await link.start();
  return { link, held, online, states, logger };
}

describe("acknowledging late", () => {
  test.for(["5", "3.1.1"] as const)("sends each PUBACK when its handler has resolved, in MQTT %s", async (protocol) => {
    const broker = await scripted();
    const { held } = await linkTo(broker, { protocol });
    const peer = await broker.peers.take();
    await peer.published(AVAILABILITY);
    for (const id of [1, 2, 3]) peer.publish(id, ASK, `question ${id}`);
    const [first, second, third] = [await held.take(), await held.take(), await held.take()];
    expect([first, second, third].map(({ message }) => message.packetId)).toEqual([1, 2, 3]);
    third.resolve();
    expect((await peer.next("puback")).messageId).toBe(3);
    first.resolve();
    expect((await peer.next("puback")).messageId).toBe(1);
    second.resolve();
    expect((await peer.next("puback")).messageId).toBe(2);
  });

  test("stays alive by pings while a message is held for longer than the keepalive", async () => {
    const broker = await scripted();
    const { link, held } = await linkTo(broker, { keepaliveSeconds: 1 });
    const peer = await broker.peers.take();
    await peer.published(AVAILABILITY);
    peer.publish(1, ASK, "held");
    const question = await held.take();
    // MQTT.js cuts its own link 1.5 keepalives after the last answer it has read.
    for (let pings = 0; pings < 3; pings += 1) await peer.next("pingreq");
    expect(link.status).toMatchObject({ state: "online", connects: 1 });
    question.resolve();
    expect((await peer.next("puback")).messageId).toBe(1);
  });

  test("offers a message again that the handler rejected, and acknowledges it then", async () => {
    const broker = await scripted();
    const clock = new FakeClock();
    const { held, logger } = await linkTo(broker, {}, clock);
    const peer = await broker.peers.take();
    await peer.published(AVAILABILITY);
    peer.publish(7, ASK, "the disk is full");
    const first = await held.take();
    expect(first.message.duplicate).toBe(false);
    first.reject(new PipitError("transient", "disk_full", "no space left"));
    await expect.poll(() => clock.pending).toBe(1);
    clock.advance(1_000);
    const second = await held.take();
    expect(second.message).toMatchObject({ packetId: 7, duplicate: true });
    second.resolve();
    expect((await peer.next("puback")).messageId).toBe(7);
    expect(logger.lines.filter(({ level }) => level === "error")[0]?.fields["reason"]).toBe("no space left");
  });

  test("holds many that the handler rejected without a word of Node.js about a leak", async () => {
    const warnings: string[] = [];
    const onWarning = ({ message }: Error) => void warnings.push(message);
    process.on("warning", onWarning);
    cleanups.push(() => Promise.resolve(void process.off("warning", onWarning)));
    const broker = await scripted();
    const clock = new FakeClock();
    const { held } = await linkTo(broker, {}, clock);
    const peer = await broker.peers.take();
    await peer.published(AVAILABILITY);
    for (let id = 1; id <= 20; id += 1) peer.publish(id, ASK, `question ${id}`);
    for (let id = 1; id <= 20; id += 1)
      (await held.take()).reject(new PipitError("transient", "disk_full", "no space"));
    await expect.poll(() => clock.pending).toBe(20);
    // Node.js warns on the next turn of its loop.
    await new Promise((resolve) => setImmediate(resolve));
    expect(warnings).toEqual([]);
  });

  test("does not acknowledge a message of a connection that has gone", async () => {
    const broker = await scripted();
    const { held } = await linkTo(broker);
    const first = await broker.peers.take();
    await first.published(AVAILABILITY);
    first.publish(1, ASK, "old");
    const question = await held.take();
    first.cut();
    const second = await broker.peers.take();
    await second.published(AVAILABILITY);
    question.resolve();
    second.publish(2, ASK, "new");
    (await held.take()).resolve();
    expect((await second.next("puback")).messageId).toBe(2);
  });

  test("reads on whatever waits, for its own acknowledgements come on the same stream", async () => {
    const broker = await scripted();
    const { link, held } = await linkTo(broker, { protocol: "3.1.1" });
    const peer = await broker.peers.take();
    await peer.published(AVAILABILITY);
    // A window that the broker does not keep to, as mosquitto 2.0.11 in a flood; each question waits for its own refusal.
    for (let id = 1; id <= 200; id += 1) peer.publish(id, ASK, `${id}`);
    const refused = link.publish({ topic: ANSWER, payload: bytes("busy") });
    const questions: Held[] = [];
    while (questions.length < 64) questions.push(await held.take());
    peer.send(acknowledge(await peer.published(ANSWER)));
    await refused;
    // The others are not looked at before there is room for them.
    expect(held.length).toBe(0);
    for (const question of questions) question.resolve();
    for (let id = 65; id <= 200; id += 1) (await held.take()).resolve();
    for (let id = 1; id <= 200; id += 1) expect((await peer.next("puback")).messageId).toBe(id);
  });

  test("does not look at what waited when the connection fell: that comes again on the next one", async () => {
    const broker = await scripted();
    const { held, online } = await linkTo(broker, { protocol: "3.1.1" });
    const first = await broker.peers.take();
    await online.take();
    for (let id = 1; id <= 70; id += 1) first.publish(id, ASK, `old ${id}`);
    const questions: Held[] = [];
    while (questions.length < 64) questions.push(await held.take());
    first.cut();
    const second = await broker.peers.take();
    await online.take();
    for (const question of questions) question.resolve();
    second.publish(65, ASK, "new", { dup: true });
    expect(text((await held.take()).message.payload)).toBe("new");
  });

  test("keeps 16 MiB of what waits and no more: the rest comes again on the next connection", async () => {
    const broker = await scripted();
    const { held, link, online } = await linkTo(broker, { protocol: "3.1.1" });
    const peer = await broker.peers.take();
    await online.take();
    const large = "x".repeat(1024 * 1024 - 1024);
    for (let id = 1; id <= 20; id += 1) peer.publish(id, ASK, large);
    // Small enough by itself, but behind others that were let go.
    peer.publish(21, ASK, "small");
    const taken: Held[] = [];
    while (taken.length < 16) taken.push(await held.take());
    const probe = link.publish({ topic: ANSWER, payload: bytes("sent behind all of them") });
    peer.send(acknowledge(await peer.published(ANSWER)));
    await probe;
    expect(held.length).toBe(0);
    for (const question of taken) question.resolve();
    await peer.ended.take();
    const acknowledged = new Set<number>();
    for (let count = 0; count < 16; count += 1) acknowledged.add((await peer.next("puback")).messageId ?? 0);
    expect(acknowledged).toEqual(new Set(Array.from({ length: 16 }, (_, index) => index + 1)));
    const next = await broker.peers.take();
    expect((await online.take()).connects).toBe(2);
    next.publish(17, ASK, large, { dup: true });
    (await held.take()).resolve();
    expect((await next.next("puback")).messageId).toBe(17);
  });
});

describe("publishing", () => {
  test.for([
    { receiveMaximum: 2, most: 2 },
    { receiveMaximum: 100, most: 8 },
    { receiveMaximum: undefined, most: 8 },
  ])("keeps at most $most in flight at receive maximum $receiveMaximum", async ({ receiveMaximum, most }) => {
    const broker = await scripted();
    let outstanding = 0;
    let worst = 0;
    broker.react = (packet) => {
      if (packet.cmd === "publish" && packet.topic === ANSWER) worst = Math.max(worst, (outstanding += 1));
      return packet.cmd === "connect" && receiveMaximum !== undefined ? accept({ receiveMaximum }) : undefined;
    };
    const { link, online } = await linkTo(broker);
    const peer = await broker.peers.take();
    await online.take();
    const all = Array.from({ length: 20 }, (_, index) => link.publish({ topic: ANSWER, payload: bytes(`${index}`) }));
    const payloads: string[] = [];
    for (let round = 0; round < 20; round += most) {
      const batch = [];
      while (batch.length < Math.min(most, 20 - round)) batch.push(await peer.published(ANSWER));
      expect(new Set(batch.map(({ messageId }) => messageId)).size).toBe(batch.length);
      for (const packet of batch) {
        payloads.push(text(packet.payload));
        outstanding -= 1;
        peer.send(acknowledge(packet));
      }
    }
    await Promise.all(all);
    expect(payloads).toEqual(Array.from({ length: 20 }, (_, index) => `${index}`));
    expect(worst).toBe(most);
  });

  test("rejects what is in flight and what waits when the link falls, and repeats nothing by itself", async () => {
    const broker = await scripted();
    const { link, online } = await linkTo(broker);
    const peer = await broker.peers.take();
    await online.take();
    const all = Array.from({ length: 10 }, (_, index) => link.publish({ topic: ANSWER, payload: bytes(`${index}`) }));
    const results = Promise.allSettled(all);
    await peer.published(ANSWER);
    peer.cut();
    for (const result of await results) {
      expect(result).toMatchObject({ status: "rejected", reason: { kind: "transient", code: "link_down" } });
    }
    const next = await broker.peers.take();
    await online.take();
    void link.publish({ topic: ANSWER, payload: bytes("new") }).catch(() => {});
    expect(text((await next.published(ANSWER)).payload)).toBe("new");
  });

  test.for([
    { code: 0x87, kind: "request" },
    { code: 0x97, kind: "transient" },
  ])("tells a refusal that lasts from one that passes: PUBACK $code is $kind", async ({ code, kind }) => {
    const broker = await scripted();
    broker.react = (packet) =>
      packet.cmd === "publish" && packet.topic === ANSWER ? acknowledge(packet, code) : undefined;
    const { link, online } = await linkTo(broker);
    await online.take();
    await expect(link.publish({ topic: ANSWER, payload: bytes("no") })).rejects.toMatchObject({ kind });
  });

  test("takes a message to the next connection that has not been acknowledged for a minute", async () => {
    const broker = await scripted();
    const clock = new FakeClock();
    const { link, online, states } = await linkTo(broker, {}, clock);
    const peer = await broker.peers.take();
    await online.take();
    const sent = link.publish({ topic: ANSWER, payload: bytes("lost in the broker") });
    await peer.published(ANSWER);
    clock.advance(60_000);
    await expect(sent).rejects.toMatchObject({ code: "link_down" });
    expect((await states.takeUntil(({ state }) => state === "offline")).reason).toMatch(/not acknowledged .* 60 s/);
  });

  test("does not send what would cost the connection", async () => {
    const broker = await scripted();
    const { link, online } = await linkTo(broker);
    const peer = await broker.peers.take();
    await online.take();
    for (const topic of ["", "a/+", "a/#", "$SYS/x", "a\u0000b"]) {
      await expect(link.publish({ topic, payload: bytes("x") })).rejects.toMatchObject({ code: "bad_request" });
    }
    void link.publish({ topic: ANSWER, payload: bytes("x"), userProperties: {}, expirySeconds: -1 }).catch(() => {});
    expect((await peer.published(ANSWER)).properties).toEqual({ messageExpiryInterval: 0 });
  });

  test("does not send what exceeds the broker's packet size", async () => {
    const broker = await scripted();
    broker.react = (packet) => (packet.cmd === "connect" ? accept({ maximumPacketSize: 1_000 }) : undefined);
    const { link, online } = await linkTo(broker);
    await online.take();
    const publishing = link.publish({ topic: ANSWER, payload: new Uint8Array(1_000) });
    await expect(publishing).rejects.toMatchObject({ kind: "request", code: "too_large" });
  });
});

describe("connecting", () => {
  test("asks for a kept session, a bounded window and a delayed will", async () => {
    const broker = await scripted();
    await linkTo(broker, { username: "board", password: "secret" });
    const { connect } = await broker.peers.take();
    expect(connect).toMatchObject({
      protocolVersion: 5,
      clientId: "board",
      clean: false,
      username: "board",
      properties: { sessionExpiryInterval: 604_800, receiveMaximum: 8, maximumPacketSize: 65_536 },
      will: { topic: AVAILABILITY, qos: 1, retain: true, properties: { willDelayInterval: 15 } },
    });
    expect(connect.properties?.topicAliasMaximum).toBeUndefined();
    expect(text(connect.will?.payload ?? "")).toBe("offline");
  });

  test("wants no retained messages and none of its own, but no-local never on a shared subscription", async () => {
    const broker = await scripted();
    await linkTo(broker, { filters: [ASK, "$share/pool/pipit/pool/pool/ask"] });
    const { subscriptions } = await (await broker.peers.take()).next("subscribe");
    expect(subscriptions).toMatchObject([
      { topic: ASK, qos: 1, rh: 2, nl: true },
      { topic: "$share/pool/pipit/pool/pool/ask", qos: 1, rh: 2, nl: false },
    ]);
  });

  test.for([0x84, 0x01])("falls back to 3.1.1 when MQTT 5 is refused with %i, and keeps to it", async (code) => {
    const broker = await scripted();
    broker.react = (packet) => (packet.cmd === "connect" && packet.protocolVersion === 5 ? refuse(code) : undefined);
    const { online } = await linkTo(broker);
    expect((await broker.peers.take()).version).toBe(5);
    const second = await broker.peers.take();
    expect(second.version).toBe(4);
    expect(await online.take()).toMatchObject({ protocolVersion: 4 });
    second.cut();
    expect((await broker.peers.take()).version).toBe(4);
  });

  test("goes on after refusals, says the reason, and is online when accepted", async () => {
    const broker = await scripted();
    let refusals = 0;
    broker.react = (packet) => (packet.cmd === "connect" && (refusals += 1) <= 3 ? refuse(0x86) : undefined);
    const { online, states } = await linkTo(broker);
    const refused = await states.takeUntil(({ state }) => state === "offline");
    expect(refused.reason).toContain("Bad User Name or Password");
    expect(await online.take()).toMatchObject({ state: "online", connects: 1 });
    expect(refusals).toBe(4);
  });

  test("leaves a broker that lets it in and then grants nothing, and owes progress meanwhile", async () => {
    const broker = await scripted();
    const clock = new FakeClock();
    broker.react = (packet) => (packet.cmd === "subscribe" ? "silent" : undefined);
    const { link, states } = await linkTo(broker, {}, clock);
    const peer = await broker.peers.take();
    await peer.next("subscribe");
    expect(link.health().doing?.what).toBe("an attempt to connect");
    clock.advance(30_000);
    await peer.ended.take();
    expect((await states.takeUntil(({ state }) => state === "offline")).reason).toMatch(/said nothing for 30 s/);
    await expect.poll(() => link.health().doing?.what).toBe("the wait before an attempt");
    broker.react = () => undefined;
    clock.advance(5);
    await states.takeUntil(({ state }) => state === "online");
    expect(link.health().doing).toBeUndefined();
  });

  test("names the cause when another client takes the session over", async () => {
    const broker = await scripted();
    const { online, states } = await linkTo(broker);
    const peer = await broker.peers.take();
    await online.take();
    peer.send({ cmd: "disconnect", reasonCode: 0x8e });
    peer.cut();
    const fallen = await states.takeUntil(({ state }) => state === "offline");
    expect(fallen.reason).toContain("is the device id used twice?");
  });

  test("comes back from a half-open connection by the keepalive", async () => {
    const broker = await scripted();
    broker.react = (packet) => (packet.cmd === "pingreq" ? "silent" : undefined);
    const { online, states } = await linkTo(broker, { keepaliveSeconds: 1 });
    await online.take();
    const fallen = await states.takeUntil(({ state }) => state === "offline");
    expect(fallen.reason).toContain("Keepalive timeout");
    expect(await online.take()).toMatchObject({ connects: 2 });
  });

  test("survives topic aliases it never allowed and packets over its limit", async () => {
    const broker = await scripted();
    const { online, held } = await linkTo(broker, { maxPacketBytes: 1_024 });
    const first = await broker.peers.take();
    await online.take();
    first.publish(1, ASK, "aliased", { properties: { topicAlias: 5 } });
    const second = await broker.peers.take();
    await online.take();
    second.publish(2, ASK, "x".repeat(2_000));
    const third = await broker.peers.take();
    await online.take();
    third.publish(3, ASK, "fine");
    expect((await held.take()).message.packetId).toBe(3);
  });

  test("survives a PUBREL without its packet identifier, which MQTT.js cannot answer", async () => {
    const broker = await scripted();
    const { online } = await linkTo(broker);
    await online.take();
    const peer = await broker.peers.take();
    peer.sendBytes(new Uint8Array([0x62, 0x00]));
    await peer.ended.take();
    expect((await online.take()).connects).toBe(2);
  });

  test("drops QoS 0 beyond what may wait, says so once, and goes on", async () => {
    const broker = await scripted();
    const { held, online, logger } = await linkTo(broker);
    await online.take();
    const peer = await broker.peers.take();
    const payload = "x".repeat(60_000);
    for (let index = 0; index < 40; index++) {
      peer.send({ cmd: "publish", qos: 0, dup: false, retain: false, topic: ASK, payload });
    }
    peer.publish(7, ASK, "with QoS 1");
    const taken: Held[] = [];
    do taken.push(await held.take());
    while (taken.at(-1)?.message.packetId !== 7);
    // 17 of them fit into 1 MiB.
    expect(taken).toHaveLength(18);
    expect(logger.lines.filter(({ message }) => message.includes("QoS 0"))).toHaveLength(1);
    for (const { resolve } of taken) resolve();
    await peer.next("puback");
    peer.send({ cmd: "publish", qos: 0, dup: false, retain: false, topic: ASK, payload });
    expect(text((await held.take()).message.payload)).toBe(payload);
  });

  test("reports a refused subscription and serves the others", async () => {
    const broker = await scripted();
    broker.react = (packet) =>
      packet.cmd === "subscribe"
        ? { cmd: "suback", messageId: packet.messageId ?? 0, granted: [1, 0x87] as unknown as number[] }
        : undefined;
    const { online, logger } = await linkTo(broker, { filters: [ASK, "secret/#"] });
    await online.take();
    const refusal = logger.lines.find(({ level }) => level === "error");
    expect(refusal?.fields).toMatchObject({ filter: "secret/#", reason_code: 0x87 });
  });

  test("keeps in mind a filter that the broker does not let go, and tries again with the next connection", async () => {
    const broker = await scripted();
    let reasonCode = 0x87;
    broker.react = (packet) =>
      packet.cmd === "unsubscribe"
        ? { cmd: "unsuback", messageId: packet.messageId ?? 0, granted: [reasonCode] }
        : undefined;
    const filtersFile = join(await temporaryDirectory(), "subscriptions.json");
    await writeFile(filtersFile, JSON.stringify({ filters: [ASK, "old/#"] }));
    const known = async () => JSON.parse(await readFile(filtersFile, "utf8")) as unknown;
    const { online, logger } = await linkTo(broker, { filtersFile });
    await online.take();
    expect(logger.lines).toContainEqual(
      expect.objectContaining({
        level: "warn",
        fields: { filters: ["old/#"], reason: "refused with reason code 135" },
      }),
    );
    expect(await known()).toEqual({ filters: [ASK, "old/#"] });
    reasonCode = 0x11; // There was no such subscription.
    const peer = await broker.peers.take();
    peer.cut();
    await online.take();
    expect((await (await broker.peers.take()).next("unsubscribe")).unsubscriptions).toEqual(["old/#"]);
    expect(await known()).toEqual({ filters: [ASK] });
  });

  test("stops within its time although the broker acknowledges nothing", async () => {
    const broker = await scripted();
    let births = 0;
    broker.react = (packet) =>
      packet.cmd === "publish" && packet.topic === AVAILABILITY && (births += 1) > 1 ? "silent" : undefined;
    const { link, online } = await linkTo(broker);
    const peer = await broker.peers.take();
    await online.take();
    await link.stop();
    expect(births).toBe(2);
    expect(link.status.state).toBe("offline");
    await peer.ended.take();
  });

  test("sends DISCONNECT after the acknowledged farewell", async () => {
    const broker = await scripted();
    const { link, online } = await linkTo(broker, { stopTimeoutMs: 5_000 });
    const peer = await broker.peers.take();
    await online.take();
    const stopping = link.stop();
    const packets = [await peer.next("publish"), await peer.next("publish"), await peer.next("disconnect")];
    expect(packets.slice(0, 2).map((packet) => "payload" in packet && text(packet.payload))).toEqual([
      "online",
      "offline",
    ]);
    peer.cut();
    await stopping;
  });
});
