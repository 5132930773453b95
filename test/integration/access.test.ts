// The access list that is shipped keeps askers apart, on mosquitto and on the embedded broker; the broker sample is accepted.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import { afterEach, describe, expect, test } from "vitest";
import { userLine } from "../../src/mqtt/access-list.ts";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import { FakeAgent } from "../fakes/agent.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { makeCertificates } from "../fixtures/certificates.ts";
import { mosquittoMissing, startMosquitto } from "../fixtures/mosquitto.ts";

const USERS = { "kitchen-pi": "k", anna: "a", bob: "b" };

let cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

async function mosquitto(): Promise<string> {
  const sample = await readFile("config/mosquitto/pipit.conf", "utf8");
  // Addresses and paths are the test's own.
  const own = /^(#|$|listener|allow_anonymous|password_file|acl_file|persistence)/;
  const access = await readFile("config/mosquitto/pipit.acl", "utf8");
  const extra = sample.split("\n").filter((line) => !own.test(line));
  const broker = await startMosquitto({ users: USERS, access, persistence: true, extra });
  cleanups.push(() => broker.stop());
  return broker.url;
}

async function embedded(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "pipit-access-"));
  cleanups.push(() => rm(directory, { recursive: true }));
  const usersFile = join(directory, "users");
  const lines = await Promise.all(Object.entries(USERS).map(([name, password]) => userLine(name, password)));
  await writeFile(usersFile, lines.join("\n"));
  const accessFile = "config/mosquitto/pipit.acl";
  const broker = new EmbeddedBroker({ port: 0, usersFile, accessFile }, new FakeLogger());
  await broker.start();
  cleanups.push(() => broker.stop());
  return broker.url;
}

async function keepsAskersApart(url: string): Promise<void> {
  const agent = new FakeAgent(url, "kitchen-pi", { username: "kitchen-pi", password: "k" });
  await agent.start();
  cleanups.push(() => agent.stop());
  const anna = createPipitClient({ url, device: "kitchen-pi", username: "anna", password: "a" });
  cleanups.push(() => anna.close());
  const bob = await connectAsync(url, { username: "bob", password: "b", clientId: "bob", reconnectPeriod: 0 });
  cleanups.push(() => bob.endAsync(true));
  const overheard: string[] = [];
  bob.on("message", (topic) => overheard.push(topic));
  await bob.subscribeAsync("pipit/#", { qos: 1 });

  const answer = anna.ask("For me alone");
  const asked = await agent.asked.take();
  for (const topic of [asked.replyTopic, "pipit/kitchen-pi/control/pause"]) {
    // A connection each: the broker may drop the forgery or the forger.
    const mallory = await connectAsync(url, { username: "bob", password: "b", reconnectPeriod: 0 });
    cleanups.push(() => mallory.endAsync(true));
    mallory.publish(topic, JSON.stringify({ id: asked.json["id"], status: "ok", text: "forged" }), { qos: 1 });
  }
  await bob.publishAsync("pipit/kitchen-pi/ask", JSON.stringify({ text: "bob's", id: "b" }), { qos: 1 });
  const bobs = await agent.asked.take();
  expect(bobs.json["text"]).toBe("bob's");
  await agent.answer(asked, { text: "Only you." });
  expect((await answer).text).toBe("Only you.");
  await agent.say("pipit/client/bob/reply", "to bob", bobs.message);
  await expect.poll(() => overheard).toContain("pipit/client/bob/reply");
  expect(overheard.filter((topic) => topic !== "pipit/client/bob/reply")).toEqual(["pipit/kitchen-pi/availability"]);
}

describe("the shipped access list", () => {
  test.skipIf(mosquittoMissing)(
    `keeps askers apart on mosquitto${mosquittoMissing ? ` (${mosquittoMissing})` : ""}`,
    async () => {
      await keepsAskersApart(await mosquitto());
    },
  );

  test("keeps askers apart on the embedded broker", async () => {
    await keepsAskersApart(await embedded());
  });
});

test("the embedded broker speaks TLS, and asks for client certificates where it has a CA", async () => {
  const { caFile, server, client, remove } = await makeCertificates();
  cleanups.push(remove);
  const broker = new EmbeddedBroker({ port: 0, webSocketPort: 0, tls: { ...server, caFile } }, new FakeLogger());
  await broker.start();
  cleanups.push(() => broker.stop());
  const [ca, cert, key] = await Promise.all([caFile, client.certFile, client.keyFile].map((file) => readFile(file)));
  for (const url of [`mqtts://localhost:${broker.port}`, `wss://localhost:${broker.webSocketPort}`]) {
    const known = await connectAsync(url, { ca, cert, key, reconnectPeriod: 0 });
    await known.publishAsync("t", "secret", { qos: 1 });
    await known.endAsync(true);
    await expect(connectAsync(url, { ca, reconnectPeriod: 0 }, false)).rejects.toThrow();
  }
});
