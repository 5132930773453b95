import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, connectAsync } from "mqtt";
import type { IClientOptions, MqttClient } from "mqtt";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { userLine } from "../../../src/mqtt/access-list.ts";
import { EmbeddedBroker } from "../../../src/mqtt/embedded-broker.ts";
import type { EmbeddedBrokerOptions } from "../../../src/mqtt/embedded-broker.ts";
import { originAllowed } from "../../../src/mqtt/web-origin.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { Mailbox } from "../../fakes/mailbox.ts";

let directory: string;
let logger: FakeLogger;
let cleanups: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pipit-broker-"));
  logger = new FakeLogger();
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
  await rm(directory, { recursive: true });
});

async function start(options: EmbeddedBrokerOptions = {}): Promise<EmbeddedBroker> {
  const broker = new EmbeddedBroker({ port: 0, ...options }, logger);
  cleanups.push(() => broker.stop());
  await broker.start();
  return broker;
}

async function client(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const connected = await connectAsync(url, { reconnectPeriod: 0, ...options }, false);
  cleanups.push(() => connected.endAsync(true));
  return connected;
}

function heardBy(listener: MqttClient): Mailbox<string> {
  const heard = new Mailbox<string>();
  listener.on("message", (topic, payload) => heard.put(`${topic} ${payload.toString()}`));
  return heard;
}

async function file(name: string, text: string): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, text);
  return path;
}

describe("EmbeddedBroker", () => {
  test("takes a free port, reports it, and carries messages over TCP and WebSocket", async () => {
    const broker = await start({ webSocketPort: 0 });
    expect(broker.url).toBe(`mqtt://127.0.0.1:${broker.port}`);
    const listener = await client(`ws://127.0.0.1:${broker.webSocketPort}`);
    const heard = heardBy(listener);
    await listener.subscribeAsync("a/#", { qos: 1 });
    await (await client(broker.url)).publishAsync("a/b", "hello", { qos: 1 });
    expect(await heard.take()).toBe("a/b hello");
  });

  test("stops while clients are connected, half connected or silent, and can be stopped twice", async () => {
    const broker = await start({ webSocketPort: 0 });
    await client(broker.url);
    await client(`ws://127.0.0.1:${broker.webSocketPort}`);
    const silent = connectTcp(broker.port ?? 0, "127.0.0.1");
    const gone = new Promise((resolve) => silent.once("close", resolve));
    silent.on("error", () => {});
    await new Promise((resolve) => silent.once("connect", resolve));
    await broker.stop();
    await broker.stop();
    await gone;
    await expect(client(broker.url)).rejects.toThrow();
  });

  test("says which port is taken", async () => {
    const { port = 0 } = await start();
    const second = new EmbeddedBroker({ port }, logger);
    await expect(second.start()).rejects.toMatchObject({ kind: "config", code: "broker_port" });
  });

  test("warns when the network may connect without users", async () => {
    await start({ host: "0.0.0.0" });
    expect(logger.lines.filter(({ level }) => level === "warn").map(({ message }) => message)).toEqual([
      expect.stringContaining("open to the network without users"),
    ]);
  });

  test("lets in users with the right password only", async () => {
    const usersFile = await file("users", `${await userLine("anna", "right")}\n`);
    const broker = await start({ usersFile });
    await client(broker.url, { username: "anna", password: "right" });
    for (const wrong of [{ username: "anna", password: "wrong" }, { username: "bob", password: "right" }, {}]) {
      await expect(client(broker.url, wrong)).rejects.toMatchObject({ code: 5 });
    }
  });

  test("gives nobody the session of another user, and lets it go with a clean one", async () => {
    const usersFile = await file("users", `${await userLine("anna", "a")}\n${await userLine("bob", "b")}\n`);
    const broker = await start({ usersFile });
    const anna = { username: "anna", password: "a" };
    const bob = { username: "bob", password: "b" };
    const kept = await client(broker.url, { ...anna, clientId: "kept", clean: false });
    await expect(client(broker.url, { ...bob, clientId: "kept" })).rejects.toMatchObject({ code: 2 });
    expect(kept.connected).toBe(true);
    await kept.endAsync();
    await expect(client(broker.url, { ...bob, clientId: "kept", clean: false })).rejects.toMatchObject({ code: 2 });
    const clean = await client(broker.url, { ...anna, clientId: "kept", clean: true });
    await clean.endAsync();
    await expect
      .poll(() =>
        client(broker.url, { ...bob, clientId: "kept" }).then(
          () => "let in",
          () => "not yet",
        ),
      )
      .toBe("let in");
  });

  test("delivers and accepts what the access list allows", async () => {
    const usersFile = await file("users", `${await userLine("anna", "a")}\n${await userLine("bob", "b")}\n`);
    const accessFile = await file("access", "pattern read to/%u\nuser anna\ntopic write to/#\n");
    const broker = await start({ usersFile, accessFile });
    const anna = await client(broker.url, { username: "anna", password: "a" });
    const bob = await client(broker.url, { username: "bob", password: "b" });
    const heard = heardBy(bob);
    await bob.subscribeAsync("#", { qos: 1 });
    await anna.publishAsync("to/anna", "not for bob", { qos: 1 });
    await anna.publishAsync("to/bob", "for bob", { qos: 1 });
    expect(await heard.take()).toBe("to/bob for bob");
    const dropped = new Promise<void>((resolve) => bob.once("close", () => resolve()));
    bob.publish("to/anna", "from bob", { qos: 1 });
    await dropped;
  });

  test.for([
    { usersFile: "/nowhere/users" },
    { accessFile: "/nowhere/access" },
    { tls: { certFile: "/nowhere/cert", keyFile: "/nowhere/key" } },
  ])("does not start when a file cannot be read: %o", async (options) => {
    const broker = new EmbeddedBroker({ port: 0, ...options }, logger);
    await expect(broker.start()).rejects.toMatchObject({ kind: "config", code: "broker_file" });
    expect(broker.port).toBeUndefined();
  });

  test("drops a client that sends more than the packet size allows, and serves the others", async () => {
    const broker = await start({ maxPacketBytes: 1_000 });
    const other = await client(broker.url);
    const heard = heardBy(other);
    await other.subscribeAsync("t", { qos: 1 });
    const greedy = await client(broker.url);
    const dropped = new Promise<void>((resolve) => greedy.once("close", () => resolve()));
    greedy.publish("t", Buffer.alloc(2_000), { qos: 1 });
    await dropped;
    await other.publishAsync("t", "still here", { qos: 1 });
    expect(await heard.take()).toBe("t still here");
  });

  test("keeps a bounded queue for a client that is away, the oldest messages of it", async () => {
    const broker = await start({ maxQueuedMessages: 3 });
    const session = { clientId: "away", clean: false };
    const first = await client(broker.url, session);
    await first.subscribeAsync("t", { qos: 1 });
    await first.endAsync();
    const sender = await client(broker.url);
    for (let index = 0; index < 6; index += 1) await sender.publishAsync("t", `${index}`, { qos: 1 });
    const heard = new Mailbox<string>();
    const second = await connectBack(broker.url, session, heard);
    await sender.publishAsync("t", "now", { qos: 1 });
    const got = [await heard.take(), await heard.take(), await heard.take(), await heard.take()];
    expect(got).toEqual(["0", "1", "2", "now"]);
    expect(logger.lines.filter(({ message }) => message.includes("queue of an absent client is full"))).toHaveLength(1);
    await second.endAsync();
    // The count begins anew for the next absence.
    await sender.publishAsync("t", "later", { qos: 1 });
    await connectBack(broker.url, session, heard);
    expect(await heard.take()).toBe("later");
  });

  test("keeps a bounded number of subscriptions, and lets go of those of clients that have left", async () => {
    const broker = await start({ subscriptions: { ofOneClient: 3, inAll: 5, clients: 3 } });
    const greedy = await client(broker.url, { clientId: "greedy" });
    const granted = async (who: MqttClient, ...filters: string[]) =>
      (await who.subscribeAsync(filters, { qos: 1 }).catch(() => [])).map(({ qos }) => qos);
    expect(await granted(greedy, "a", "b", "c")).toEqual([1, 1, 1]);
    expect(await granted(greedy, "d")).toEqual([]);
    expect(await granted(greedy, "a")).toEqual([1]);
    await greedy.unsubscribeAsync("a");
    expect(await granted(greedy, "d")).toEqual([1]);
    const other = await client(broker.url, { clientId: "other" });
    expect(await granted(other, "a", "b")).toEqual([1, 1]);
    expect(await granted(other, "c")).toEqual([]);
    await greedy.endAsync();
    await expect.poll(() => granted(other, "c")).toEqual([1]);
    expect(await granted(other, `x/${"y".repeat(1100)}`)).toEqual([]);
  });

  test("refuses a client id of kilobytes", async () => {
    const broker = await start();
    await expect(client(broker.url, { clientId: "i".repeat(300) })).rejects.toMatchObject({ code: 2 });
  });

  test("keeps a bounded number of retained topics", async () => {
    const broker = await start({ maxRetainedMessages: 2 });
    const sender = await client(broker.url);
    for (const topic of ["r/1", "r/2", "r/3"]) await sender.publishAsync(topic, topic, { qos: 1, retain: true });
    await sender.publishAsync("r/1", "changed", { qos: 1, retain: true });
    await sender.publishAsync("r/2", "", { qos: 1, retain: true });
    await sender.publishAsync("r/4", "r/4", { qos: 1, retain: true });
    const late = await client(broker.url);
    const heard = heardBy(late);
    await late.subscribeAsync("r/#", { qos: 1 });
    await sender.publishAsync("r/end", "end", { qos: 1 });
    const got = [];
    while (got.at(-1) !== "r/end end") got.push(await heard.take());
    expect(got.sort()).toEqual(["r/1 changed", "r/4 r/4", "r/end end"]);
  });

  test("does not let a strange web page connect", async () => {
    const { webSocketPort } = await start({ webSocketPort: 0, webSocketOrigins: ["http://panel.local"] });
    const status = (origin: string) =>
      new Promise<number>((resolve) => {
        const socket = new WebSocket(`ws://127.0.0.1:${webSocketPort}`, ["mqtt"], { origin });
        socket.once("open", () => {
          socket.terminate();
          resolve(101);
        });
        socket.once("error", () => {});
        socket.once("unexpected-response", (_request, response) => {
          response.destroy();
          resolve(response.statusCode ?? 0);
        });
      });
    expect(await status("http://evil.example")).toBe(401);
    expect(await status("http://panel.local")).toBe(101);
    expect(await status("http://127.0.0.1:8080")).toBe(101);
  });

  test.for([
    { origin: undefined, allowed: true },
    { origin: "http://pi.local:8080", allowed: true },
    { origin: "http://pi.local.evil.example", allowed: false },
    { origin: "null", allowed: false },
    { origin: "file://", allowed: false },
  ])("origin $origin at host pi.local: $allowed", ({ origin, allowed }) => {
    expect(originAllowed(origin, "pi.local:9001", [])).toBe(allowed);
  });
});

/** Listens before CONNACK, because what has waited comes right after it. */
async function connectBack(url: string, session: IClientOptions, heard: Mailbox<string>): Promise<MqttClient> {
  const back = connect(url, { reconnectPeriod: 0, ...session });
  cleanups.push(() => back.endAsync(true));
  back.on("message", (_topic, payload) => heard.put(payload.toString()));
  await new Promise((resolve) => back.once("connect", resolve));
  return back;
}
