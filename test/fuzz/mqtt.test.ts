// MQTT frames nobody should send, over real sockets: from a broken or hostile broker to the agent's link, and from any client
// to the embedded broker. Each input is one conversation of 5.5 frames on average; the first that is malformed ends it. A connection
// may be cut, nothing may be thrown, and the next connection works.
import { once } from "node:events";
import { connect as connectTcp, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { connectAsync } from "mqtt";
import { generate } from "mqtt-packet";
import type { Packet } from "mqtt-packet";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { PipitError } from "../../src/core/errors.ts";
import { Connection } from "../../src/mqtt/connection.ts";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import { FakeLogger } from "../fakes/logger.ts";
import type { Random } from "../fakes/random.ts";
import { fuzz, TIMEOUT_MS } from "./fuzz.ts";
import { mutated, pick } from "./mutate.ts";

const SIDE = 32;
const CONVERSATIONS_A_FRAME = 1 / 5;
/** A frame whose end never comes leaves the broker waiting, and rightly so. */
const SILENCE_MS = 20;
const PING = Buffer.from([0xc0, 0]);
const PONG = Buffer.from([0xd0, 0]);
const properties = {
  responseTopic: "my/answers",
  correlationData: Buffer.from("c-1"),
  messageExpiryInterval: 60,
  payloadFormatIndicator: true,
  contentType: "text/plain",
  userProperties: { user: "anna", twice: ["a", "b"] },
};
const publish = { cmd: "publish", topic: "pipit/board/ask", payload: "Why?", dup: false, retain: false } as const;

const BOTH_WAYS: Packet[] = [
  { ...publish, qos: 1, messageId: 7 },
  { ...publish, qos: 1, messageId: 7, dup: true, retain: true, properties },
  { ...publish, qos: 0, properties: { topicAlias: 3 } },
  { ...publish, qos: 2, messageId: 8, payload: "x".repeat(300) },
  { cmd: "puback", messageId: 1 },
  { cmd: "pubrec", messageId: 1 },
  { cmd: "pubrel", messageId: 8 },
  { cmd: "pubcomp", messageId: 1 },
  { cmd: "disconnect", reasonCode: 0x8e },
];
const OF_A_BROKER: Packet[] = [
  { cmd: "connack", reasonCode: 0, returnCode: 0, sessionPresent: false },
  {
    cmd: "connack",
    reasonCode: 0,
    returnCode: 0,
    sessionPresent: true,
    properties: { receiveMaximum: 2, maximumPacketSize: 64 },
  },
  { cmd: "suback", messageId: 1, granted: [1] },
  { cmd: "suback", messageId: 1, granted: [0x87] },
  { cmd: "unsuback", messageId: 1, granted: [0] },
  { cmd: "pingresp" },
  { cmd: "auth", reasonCode: 0x18 },
];
const OF_A_CLIENT: Packet[] = [
  { cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "pipit/#", qos: 1 }] },
  {
    cmd: "subscribe",
    messageId: 2,
    subscriptions: [
      { topic: "+/+", qos: 0 },
      { topic: "$SYS/#", qos: 2 },
    ],
  },
  { cmd: "unsubscribe", messageId: 3, unsubscriptions: ["pipit/#"] },
  { cmd: "pingreq" },
];
const connect = { cmd: "connect", clean: true, keepalive: 0, protocolId: "MQTT", protocolVersion: 4 } as const;
const will = { topic: "w", payload: Buffer.from("gone"), qos: 1, retain: true } as const;
const CONNECTS = (clientId: string): Packet[] => [
  { ...connect, clientId: "" },
  { ...connect, clientId, keepalive: 1, username: "u", password: Buffer.from("p"), will },
  { ...connect, clientId, clean: false },
  { ...connect, clientId, protocolVersion: 5, properties: { sessionExpiryInterval: 5 } },
];

const encoded = (packets: readonly Packet[], protocolVersion: 4 | 5) =>
  packets
    .filter(({ cmd }) => protocolVersion === 5 || cmd !== "auth")
    .map((packet) => generate(packet, { protocolVersion }));

/** A sound frame, one with wounds, or one with wounds whose length is right again, so that more of it is read. */
function frame(random: Random, sound: readonly Uint8Array[]): Uint8Array {
  if (random.chance(0.4)) return pick(random, sound);
  const bytes = mutated(random, sound);
  if (random.chance(0.3) || bytes.length < 2) return bytes;
  const body = bytes.subarray(2, 2 + 16_000);
  const length = body.length < 128 ? [body.length] : [(body.length & 0x7f) | 0x80, body.length >> 7];
  return Buffer.concat([bytes.subarray(0, 1), Buffer.from(length), body]);
}

const frames = (random: Random, sound: readonly Uint8Array[]) =>
  Array.from({ length: 1 + random.below(8) }, () => frame(random, sound));
const show = (conversation: { bytes: Uint8Array[] }) =>
  conversation.bytes.map((bytes) => Buffer.from(bytes).toString("hex")).join(" ");

test("frames to the link", { timeout: TIMEOUT_MS * 2 }, async () => {
  const scripts = new Map<string, Uint8Array[]>();
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.once("data", (bytes) => {
      // The client names the conversation that it wants.
      const script = scripts.get(/fuzz-\d+-/.exec(bytes.toString("latin1"))?.[0] ?? "") ?? [];
      socket.end(Buffer.concat(script));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sound = { 4: encoded([...BOTH_WAYS, ...OF_A_BROKER], 4), 5: encoded([...BOTH_WAYS, ...OF_A_BROKER], 5) };
  const accept = { 4: encoded(OF_A_BROKER.slice(0, 2), 4), 5: encoded(OF_A_BROKER.slice(0, 2), 5) };
  let made = 0;
  await fuzz({
    name: "frames to the link",
    side: SIDE,
    part: CONVERSATIONS_A_FRAME,
    make(random) {
      const version = pick(random, [4, 5] as const);
      const first = random.chance(0.9) ? pick(random, accept[version]) : frame(random, accept[version]);
      return { version, bytes: [first, ...frames(random, sound[version])] };
    },
    async run({ version, bytes }) {
      const name = `fuzz-${++made}-`;
      scripts.set(name, bytes);
      let received = 0;
      try {
        const options = { protocolVersion: version, clientId: name, clean: false, keepalive: 30, connectTimeout: 5000 };
        const receive = () => ((received += 1), Promise.resolve());
        const connection = await Connection.open(url, options, receive, systemClock, new AbortController().signal);
        const asked = [
          connection.subscribe(["pipit/board/ask"]),
          connection.publish({ topic: "pipit/board/answer", payload: Buffer.from("Because.") }),
        ].map((work) => work.catch((error: unknown) => expect(error).toBeInstanceOf(PipitError)));
        await Promise.all([connection.closed, ...asked]);
        return received > 0 ? "received" : "connected";
      } catch (error) {
        if (error instanceof PipitError && error.kind === "transient") return error.code;
        throw error;
      } finally {
        scripts.delete(name);
      }
    },
    show,
  });
});

test("frames to the embedded broker", { timeout: TIMEOUT_MS * 2 }, async () => {
  const logger = new FakeLogger();
  const broker = new EmbeddedBroker({ port: 0, maxPacketBytes: 65_536 }, logger);
  await broker.start();
  onTestFinished(() => broker.stop());
  const sound = { 4: encoded([...BOTH_WAYS, ...OF_A_CLIENT], 4), 5: encoded([...BOTH_WAYS, ...OF_A_CLIENT], 5) };
  await fuzz({
    name: "frames to the embedded broker",
    side: SIDE,
    part: CONVERSATIONS_A_FRAME,
    make(random) {
      const connects = CONNECTS(`fuzz-${random.below(1e9)}`).map((packet) => generate(packet));
      const first = random.chance(0.9) ? pick(random, connects) : frame(random, connects);
      return { bytes: [first, ...frames(random, sound[random.chance(0.9) ? 4 : 5])] };
    },
    async run({ bytes }) {
      return await conversation(broker.port ?? 0, [...bytes, PING]);
    },
    show,
  });
  const client = await connectAsync(broker.url, { reconnectPeriod: 0 });
  await client.publishAsync("still", "there", { qos: 1 });
  await client.endAsync();
});

/** Sends the frames and waits until the ping at their end is answered, the connection is cut, or nothing comes. */
async function conversation(port: number, bytes: readonly Uint8Array[]): Promise<string> {
  const socket = connectTcp(port, "127.0.0.1");
  socket.on("error", () => {});
  let outcome = "cut";
  const silence = setTimeout(() => ((outcome = "silent"), socket.destroy()), SILENCE_MS);
  socket.on("data", (chunk) => {
    if (!chunk.includes(PONG)) return;
    outcome = "answered";
    socket.destroy();
  });
  socket.write(Buffer.concat(bytes));
  await once(socket, "close");
  clearTimeout(silence);
  return outcome;
}
