// The link against a real broker, in both protocol versions.
import { copyFile, readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import tls, { createServer } from "node:tls";
import { connectAsync } from "mqtt";
import type { IClientOptions, IPublishPacket, MqttClient } from "mqtt";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { IncomingMessage, OutgoingMessage } from "../../src/core/message.ts";
import type { LinkStatus } from "../../src/core/ports.ts";
import { KnownFilters } from "../../src/mqtt/known-filters.ts";
import { MqttLink } from "../../src/mqtt/link.ts";
import type { LinkEvents } from "../../src/mqtt/link.ts";
import type { LinkOptions } from "../../src/mqtt/link-options.ts";
import { AVAILABILITY, FILTERS, linkContract } from "../contract/link.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { Mailbox } from "../fakes/mailbox.ts";
import { makeCertificates } from "../fixtures/certificates.ts";
import type { Certificates, KeyPair } from "../fixtures/certificates.ts";
import { freePort, mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";
import type { Mosquitto, MosquittoOptions } from "../fixtures/mosquitto.ts";
import { TcpProxy } from "../fixtures/tcp-proxy.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";

const ASK = "pipit/board/ask";
const ANSWER = "pipit/board/answer";
const bytes = (value: string) => new TextEncoder().encode(value);
const text = (value: Uint8Array | undefined) => value && new TextDecoder().decode(value);

let cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

async function mosquitto(options?: MosquittoOptions): Promise<Mosquitto> {
  const broker = await startMosquitto(options);
  cleanups.push(() => broker.stop());
  return broker;
}

/** Somebody else on the bus; what it hears is in `heard`. */
async function stranger(url: string, filters: string[] = [], options: IClientOptions = {}) {
  const client: MqttClient = await connectAsync(url, { reconnectPeriod: 0, protocolVersion: 5, ...options }, false);
  cleanups.push(() => client.endAsync(true));
  const heard = new Mailbox<IPublishPacket>();
  client.on("message", (_topic, _payload, packet) => heard.put(packet));
  if (filters.length > 0) await client.subscribeAsync(filters, { qos: 1 });
  return { client, heard };
}

async function linkTo(url: string, options: Partial<LinkOptions> = {}, onMessage?: LinkEvents["onMessage"]) {
  const messages = new Mailbox<IncomingMessage>();
  const online = new Mailbox<LinkStatus>();
  const states = new Mailbox<LinkStatus>();
  const logger = new FakeLogger();
  const link = new MqttLink(
    {
      url,
      clientId: "board",
      filters: [ASK],
      availabilityTopic: AVAILABILITY,
      backoff: { minMs: 5, maxMs: 50 },
      ...options,
    },
    {
      onMessage: async (message) => {
        messages.put(message);
        await onMessage?.(message);
      },
      onOnline: (status) => online.put(status),
      onStatus: (status) => states.put(status),
    },
    logger,
    systemClock,
  );
  cleanups.push(() => link.stop());
  return { link, messages, online, states, logger };
}

/** A way to the broker that can be cut without a farewell. */
async function proxyTo(broker: Mosquitto): Promise<TcpProxy> {
  const proxy = new TcpProxy(broker.port, await freePort());
  await proxy.open();
  cleanups.push(() => proxy.close());
  return proxy;
}

describe.skipIf(mosquittoMissing)(`the link on mosquitto${mosquittoMissing ? ` (${mosquittoMissing})` : ""}`, () => {
  for (const protocol of ["5", "3.1.1"] as const) {
    linkContract(`the contract, MQTT ${protocol}`, async (events, brokerIsUp) => {
      const broker = await startMosquitto();
      const proxy = new TcpProxy(broker.port, await freePort());
      if (brokerIsUp) await proxy.open();
      const other = await connectAsync(broker.url, { reconnectPeriod: 0 });
      const published = new Mailbox<OutgoingMessage>();
      other.on("message", (topic, payload) => published.put({ topic, payload }));
      await other.subscribeAsync([AVAILABILITY, ANSWER], { qos: 1 });
      const url = `mqtt://127.0.0.1:${proxy.port}`;
      const backoff = { minMs: 5, maxMs: 20 };
      const options = { url, protocol, clientId: "board", filters: FILTERS, availabilityTopic: AVAILABILITY, backoff };
      const link = new MqttLink(options, events, new FakeLogger(), systemClock);
      return {
        link,
        published,
        send: async (topic, payload) => void (await other.publishAsync(topic, payload, { qos: 1 })),
        retained: async (topic) => {
          const late = await connectAsync(broker.url, { reconnectPeriod: 0 });
          const stored = new Promise<string>((resolve) =>
            late.on("message", (_, payload) => resolve(payload.toString())),
          );
          await late.subscribeAsync(topic, { qos: 1 });
          const got = await stored;
          await late.endAsync(true);
          return got;
        },
        cut: () => Promise.resolve(proxy.cut()),
        brokerDown: () => proxy.close(),
        brokerUp: () => proxy.open(),
        cleanup: async () => {
          await link.stop();
          await other.endAsync(true);
          await proxy.close();
          await broker.stop();
        },
      };
    });

    describe(`MQTT ${protocol}`, () => {
      const version = protocol === "5" ? 5 : 4;

      test("keeps the session while the broker restarts and gets what was asked meanwhile", async () => {
        const broker = await mosquitto({ persistence: true });
        const { link, messages, online, states, logger } = await linkTo(broker.url, { protocol });
        await link.start();
        expect(await online.take()).toMatchObject({ protocolVersion: version });
        await states.takeUntil(({ state }) => state === "online");
        await broker.halt();
        await states.takeUntil(({ state }) => state === "offline");
        await broker.start();
        await online.take();
        const { client } = await stranger(broker.url);
        await client.publishAsync(ASK, "after the restart", { qos: 1 });
        expect(text((await messages.take()).payload)).toBe("after the restart");
        const connects = logger.lines.filter(({ message }) => message === "connected to the broker");
        expect(connects.map(({ fields }) => fields["session_present"])).toEqual([false, true]);
      });

      test("gets questions that were asked while it was away", async () => {
        const broker = await mosquitto();
        const proxy = await proxyTo(broker);
        const { link, messages, online } = await linkTo(`mqtt://127.0.0.1:${proxy.port}`, { protocol });
        await link.start();
        await online.take();
        await proxy.close();
        const { client } = await stranger(broker.url);
        for (const question of ["one", "two", "three"]) await client.publishAsync(ASK, question, { qos: 1 });
        await proxy.open();
        const got = [await messages.take(), await messages.take(), await messages.take()];
        expect(got.map(({ payload }) => text(payload))).toEqual(["one", "two", "three"]);
      });

      test("takes back a filter that is no longer configured, also when the first attempt to do so was cut short", async () => {
        const broker = await mosquitto();
        const filtersFile = join(await temporaryDirectory(), "state", "subscriptions.json");
        const configured = async (filters: string[]) => {
          const at = await linkTo(broker.url, { protocol, filters, filtersFile });
          await at.link.start();
          await at.online.take();
          return at;
        };
        const { client } = await stranger(broker.url);
        const first = await configured([ASK, "home/+/ask"]);
        await client.publishAsync("home/kitchen/ask", "1", { qos: 1 });
        expect(text((await first.messages.take()).payload)).toBe("1");
        await first.link.stop();
        // As a crash leaves it between subscribing and taking back.
        new KnownFilters(filtersFile, new FakeLogger()).add([ASK, "pipit/board/cancel"]);
        const second = await configured([ASK, "pipit/board/cancel"]);
        await client.publishAsync("home/kitchen/ask", "2", { qos: 1 });
        await client.publishAsync(ASK, "3", { qos: 1 });
        expect(text((await second.messages.take()).payload)).toBe("3");
        await second.link.stop();
        expect(JSON.parse(await readFile(filtersFile, "utf8"))).toEqual({ filters: [ASK, "pipit/board/cancel"] });
      });

      test("the broker says offline when the agent is gone without a farewell", async () => {
        const broker = await mosquitto();
        const proxy = await proxyTo(broker);
        const { link, online } = await linkTo(`mqtt://127.0.0.1:${proxy.port}`, { protocol, willDelaySeconds: 0 });
        const { heard } = await stranger(broker.url, [AVAILABILITY]);
        await link.start();
        await online.take();
        expect(String((await heard.take()).payload)).toBe("online");
        await proxy.close();
        expect(String((await heard.take()).payload)).toBe("offline");
        const late = await stranger(broker.url, [AVAILABILITY]);
        expect(await late.heard.take()).toMatchObject({ retain: true, payload: Buffer.from("offline") });
      });

      test("a clean stop says offline once, without the will", async () => {
        const broker = await mosquitto();
        const { link, online } = await linkTo(broker.url, { protocol, willDelaySeconds: 0 });
        const { client, heard } = await stranger(broker.url, [AVAILABILITY, "end"]);
        await link.start();
        await online.take();
        await link.stop();
        await client.publishAsync("end", "end", { qos: 1 });
        const payloads = [];
        while (payloads.at(-1) !== "end") payloads.push(String((await heard.take()).payload));
        expect(payloads).toEqual(["online", "offline", "end"]);
        expect(broker.log).toContain("Received DISCONNECT from board");
      });

      test("does not answer what is only retained", async () => {
        const broker = await mosquitto();
        const { client } = await stranger(broker.url);
        await client.publishAsync(ASK, "stored", { qos: 1, retain: true });
        const { link, messages, online } = await linkTo(broker.url, { protocol });
        await link.start();
        await online.take();
        await client.publishAsync(ASK, "fresh", { qos: 1 });
        const first = await messages.take();
        if (version === 4) {
          // 3.1.1 cannot ask for silence; the flag tells.
          expect(first).toMatchObject({ retained: true });
          expect(await messages.take()).toMatchObject({ retained: false, payload: Buffer.from("fresh") });
        } else {
          expect(first).toMatchObject({ retained: false, payload: Buffer.from("fresh") });
        }
      });
    });
  }

  test("an unacknowledged message comes again, marked as duplicate", async () => {
    const broker = await mosquitto();
    const proxy = await proxyTo(broker);
    const { link, messages, online } = await linkTo(`mqtt://127.0.0.1:${proxy.port}`, {}, () => new Promise(() => {}));
    await link.start();
    await online.take();
    const { client } = await stranger(broker.url);
    await client.publishAsync(ASK, "held", { qos: 1 });
    const first = await messages.take();
    proxy.cut();
    const second = await messages.take();
    expect([first.duplicate, second.duplicate]).toEqual([false, true]);
    expect(second.packetId).toBe(first.packetId);
  });

  test.for(["5", "3.1.1"] as const)("gets a message once that several filters match, MQTT %s", async (protocol) => {
    const broker = await mosquitto();
    const filters = ["home/+/ask", "home/#", "+/kitchen/ask"];
    const { link, messages, online } = await linkTo(broker.url, { protocol, filters });
    await link.start();
    await online.take();
    const { client } = await stranger(broker.url);
    for (const topic of ["home/kitchen/ask", "home/kitchen/light", "other/kitchen/ask", "home/end"]) {
      await client.publishAsync(topic, topic, { qos: 1 });
    }
    const got: string[] = [];
    while (got.at(-1) !== "home/end") got.push((await messages.take()).topic);
    expect(got).toEqual(["home/kitchen/ask", "home/kitchen/light", "other/kitchen/ask", "home/end"]);
  });

  test("the broker keeps what exceeds the receive maximum until places are free", async () => {
    const broker = await mosquitto();
    const release = new Mailbox<() => void>();
    const { link, messages, online } = await linkTo(broker.url, { receiveMaximum: 2 }, () => {
      return new Promise((resolve) => release.put(resolve));
    });
    await link.start();
    await online.take();
    const { client } = await stranger(broker.url);
    for (let index = 0; index < 6; index += 1) await client.publishAsync(ASK, `${index}`, { qos: 1 });
    const got = [await messages.take(), await messages.take()];
    // The answer to this has passed the broker after all questions: two are here and no more.
    await link.publish({ topic: ANSWER, payload: bytes("x") });
    expect(messages.length).toBe(0);
    for (let index = 0; index < 4; index += 1) {
      (await release.take())();
      got.push(await messages.take());
    }
    expect(got.map(({ payload }) => text(payload))).toEqual(["0", "1", "2", "3", "4", "5"]);
  });

  test("carries the properties of MQTT 5 both ways", async () => {
    const broker = await mosquitto();
    const { link, messages, online } = await linkTo(broker.url);
    await link.start();
    await online.take();
    const { client, heard } = await stranger(broker.url, ["answers/here"]);
    const correlationData = Buffer.from([0, 1, 254, 255]);
    const properties = {
      responseTopic: "answers/here",
      correlationData,
      messageExpiryInterval: 60,
      contentType: "text/plain",
    };
    await client.publishAsync(ASK, "Grüße", {
      qos: 1,
      properties: { ...properties, userProperties: { from: "kitchen" } },
    });
    const question = await messages.take();
    expect(question).toMatchObject({
      responseTopic: "answers/here",
      correlationData,
      expirySeconds: 60,
      contentType: "text/plain",
      userProperties: { from: "kitchen" },
    });
    expect(text(question.payload)).toBe("Grüße");
    await link.publish({
      topic: "answers/here",
      payload: bytes("Paris."),
      correlationData: question.correlationData ?? bytes(""),
      contentType: "application/json",
      text: true,
      expirySeconds: 29.2,
      userProperties: { status: "error" },
    });
    expect((await heard.take()).properties).toMatchObject({
      correlationData,
      contentType: "application/json",
      payloadFormatIndicator: true,
      messageExpiryInterval: 30,
      userProperties: { status: "error" },
    });
  });

  test("speaks WebSocket", async () => {
    const broker = await mosquitto({ webSocket: true });
    const { link, messages, online } = await linkTo(broker.webSocketUrl);
    await link.start();
    await online.take();
    const { client } = await stranger(broker.url);
    await client.publishAsync(ASK, "over the web", { qos: 1 });
    expect(text((await messages.take()).payload)).toBe("over the web");
  });

  test("needs the right password, and says which of the two is missing", async () => {
    const broker = await mosquitto({ users: { board: "right" } });
    const wrong = await linkTo(broker.url, { username: "board", password: "wrong" });
    await wrong.link.start();
    const refused = await wrong.states.takeUntil(({ state }) => state === "offline");
    expect(refused.reason).toMatch(/not authorized/i);
    await wrong.link.stop();
    const right = await linkTo(broker.url, { username: "board", password: "right" });
    await right.link.start();
    expect(await right.online.take()).toMatchObject({ state: "online" });
  });

  describe("TLS", () => {
    let certificates: Certificates;
    beforeAll(async () => {
      certificates = await makeCertificates();
    });
    afterAll(() => certificates.remove());

    test("connects when the CA has signed the broker, and not otherwise", async () => {
      const { caFile, server } = certificates;
      const broker = await mosquitto({ tls: { caFile, ...server } });
      const trusting = await linkTo(broker.url, { tls: { caFile } });
      await trusting.link.start();
      expect(await trusting.online.take()).toMatchObject({ protocolVersion: 5 });
      await trusting.link.stop();
      const doubting = await linkTo(broker.url);
      await doubting.link.start();
      const refused = await doubting.states.takeUntil(({ state }) => state === "offline");
      expect(refused.reason).toMatch(/^TLS: /);
    });

    test("shows its own certificate where the broker asks for one", async () => {
      const { caFile, server, client } = certificates;
      const broker = await mosquitto({ tls: { caFile, ...server, requireClientCertificate: true } });
      const { link, online } = await linkTo(broker.url, { tls: { caFile, ...client } });
      await link.start();
      expect(await online.take()).toMatchObject({ state: "online" });
    });

    test("accepts any certificate only when told to be insecure, and warns", async () => {
      const { caFile, server } = certificates;
      const broker = await mosquitto({ tls: { caFile, ...server } });
      const { link, online, logger } = await linkTo(broker.url, { tls: { insecure: true } });
      await link.start();
      await online.take();
      expect(logger.lines.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual([
        expect.stringContaining("tls.insecure is set"),
      ]);
    });

    test("blames the clock for a certificate that is not yet valid", async () => {
      const { caFile, future } = certificates;
      const broker = await mosquitto({ tls: { caFile, ...future } });
      const { link, states } = await linkTo(broker.url, { tls: { caFile } });
      await link.start();
      const refused = await states.takeUntil(({ state }) => state === "offline");
      expect(refused.reason).toContain("the clock of this machine may not be set");
    });

    test("is back within seconds when the clock is right, whatever the back-off", async () => {
      const { caFile, server, future } = certificates;
      // The broker's own certificate changes in the place of this machine's clock.
      const directory = await temporaryDirectory();
      const own = { certFile: join(directory, "own.pem"), keyFile: join(directory, "own.key") };
      const put = (pair: KeyPair) =>
        Promise.all([copyFile(pair.certFile, own.certFile), copyFile(pair.keyFile, own.keyFile)]);
      await put(future);
      const broker = await mosquitto({ tls: { caFile, ...own } });
      const backoff = { minMs: 3_600_000, maxMs: 3_600_000 };
      const { link, states, online } = await linkTo(broker.url, { tls: { caFile }, backoff });
      await link.start();
      await states.takeUntil(({ state }) => state === "offline");
      await broker.halt();
      await put(server);
      await broker.start();
      expect(await online.take()).toMatchObject({ state: "online", connects: 1 });
    });

    test("trusts the CA it was given and no other, not even those of the system", async () => {
      const other = await makeCertificates();
      cleanups.push(() => other.remove());
      const broker = await mosquitto({ tls: { caFile: other.caFile, ...other.server } });
      const { link, states } = await linkTo(broker.url, { tls: { caFile: certificates.caFile } });
      await link.start();
      expect((await states.takeUntil(({ state }) => state === "offline")).reason).toMatch(/^TLS: /);
    });

    test("refuses a certificate that is for another host", async () => {
      const { caFile, server } = certificates;
      const [cert, key] = await Promise.all([readFile(server.certFile), readFile(server.keyFile)]);
      const elsewhere = createServer({ cert, key });
      cleanups.push(() => new Promise((resolve) => elsewhere.close(resolve)));
      await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.2", resolve));
      const { port } = elsewhere.address() as AddressInfo;
      const { link, states } = await linkTo(`mqtts://127.0.0.2:${port}`, { tls: { caFile } });
      await link.start();
      const { reason } = await states.takeUntil(({ state }) => state === "offline");
      expect(reason).toMatch(/does not match certificate's altnames/);
    });

    test("does not speak TLS 1.1, not even where this Node.js would", async () => {
      const { caFile, server } = certificates;
      const [cert, key, ca] = await Promise.all(
        [server.certFile, server.keyFile, caFile].map((file) => readFile(file)),
      );
      const ciphers = "DEFAULT@SECLEVEL=0";
      const old = createServer({ cert, key, ciphers, minVersion: "TLSv1.1", maxVersion: "TLSv1.1" });
      cleanups.push(() => new Promise((resolve) => old.close(resolve)));
      await new Promise<void>((resolve) => old.listen(0, "127.0.0.1", resolve));
      const { port } = old.address() as AddressInfo;
      const before = [tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS] as const;
      [tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS] = ["TLSv1.1", ciphers];
      try {
        // The server is a sound one for a client that does not mind.
        await new Promise<void>((resolve, reject) => {
          const socket = tls.connect({ port, host: "localhost", ca, ciphers }, () => resolve(void socket.destroy()));
          socket.once("error", reject);
        });
        const { link, states } = await linkTo(`mqtts://localhost:${port}`, { tls: { caFile } });
        await link.start();
        const { reason } = await states.takeUntil(({ state }) => state === "offline");
        expect(reason).toMatch(/protocol version|unsupported protocol/i);
        await link.stop();
      } finally {
        [tls.DEFAULT_MIN_VERSION, tls.DEFAULT_CIPHERS] = before;
      }
    });

    test("refuses to start with a key file that is not there", async () => {
      const { client } = certificates;
      const { link } = await linkTo("mqtts://localhost:1", { tls: { ...client, keyFile: "/nowhere.key" } });
      await expect(link.start()).rejects.toMatchObject({ kind: "config", code: "tls_file" });
      expect(await readFile(client.certFile, "utf8")).toContain("BEGIN CERTIFICATE");
    });
  });
});
