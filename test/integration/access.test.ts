// The access list that is shipped keeps askers apart, on mosquitto and on the embedded broker; the broker sample is accepted.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectAsync } from "mqtt";
import { afterEach, describe, expect, test } from "vitest";
import { userLine } from "../../src/mqtt/access-list.ts";
import { createPipitClient } from "../../src/mqtt/client.ts";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import { ChaosAgent } from "../chaos/agent.ts";
import { FakeAgent } from "../fakes/agent.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { Mailbox } from "../fakes/mailbox.ts";
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

async function embedded(accessFile = "config/mosquitto/pipit.acl"): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "pipit-access-"));
  cleanups.push(() => rm(directory, { recursive: true }));
  const usersFile = join(directory, "users");
  const lines = await Promise.all(Object.entries(USERS).map(([name, password]) => userLine(name, password)));
  await writeFile(usersFile, lines.join("\n"));
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

/** The agent by itself behind the access list that goes by user, with the route that its comment asks for. */
async function keepsUsersApart(url: string, access: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "pipit-access-"));
  cleanups.push(() => rm(directory, { recursive: true }));
  const comment = access.split("\n").filter((line) => line.startsWith("#   "));
  await writeFile(join(directory, "pipit.yaml"), comment.map((line) => line.slice(4)).join("\n"));
  await writeFile(join(directory, "password"), "k", { mode: 0o600 });
  const agent = new ChaosAgent({
    brokerUrl: url,
    env: {
      PIPIT_CONFIG: join(directory, "pipit.yaml"),
      PIPIT_DEVICE_ID: "kitchen-pi",
      PIPIT_BROKER_USERNAME: "kitchen-pi",
      PIPIT_BROKER_PASSWORD_FILE: join(directory, "password"),
    },
  });
  cleanups.push(() => agent.stop());
  const users = await Promise.all(
    ["anna", "bob"].map(async (name) => {
      const client = await connectAsync(url, { username: name, password: name[0] ?? "", reconnectPeriod: 0 });
      cleanups.push(() => client.endAsync(true));
      const heard = new Mailbox<string>();
      const online = new Promise<void>((resolve) => {
        client.on("message", (topic, payload) => {
          if (topic.endsWith("/availability")) resolve();
          else heard.put(`${topic} ${payload.toString()}`);
        });
      });
      await client.subscribeAsync(["pipit/client/#", "pipit/kitchen-pi/#"], { qos: 1 });
      return { name, client, heard, online };
    }),
  );
  agent.start();
  await Promise.all(users.map(({ online }) => online));
  const [anna, bob] = users;
  if (!anna || !bob) throw new Error("two users");
  const ask = async (user: typeof anna, level: string, fields: object) => {
    const topic = `pipit/kitchen-pi/ask/${level}`;
    const own = await connectAsync(url, { username: user.name, password: user.name[0] ?? "", reconnectPeriod: 0 });
    cleanups.push(() => own.endAsync(true));
    // A connection each: the broker may drop the forgery or the forger.
    own.publish(topic, JSON.stringify({ text: "Why?", ...fields }), { qos: 1 });
  };

  await ask(bob, "anna", { id: "forged" });
  await ask(bob, "bob", { id: "to anna", reply_to: "pipit/client/anna/reply" });
  expect(await bob.heard.take()).toMatch(/^pipit\/client\/bob\/reply .*"to anna".*not_allowed.*pipit\/client\/bob\/#/);
  await ask(bob, "bob", { id: "b", reply_to: "pipit/client/bob/inbox" });
  expect(await bob.heard.take()).toMatch(/^pipit\/client\/bob\/inbox .*"b","status":"ok"/);
  // Bob goes on until he is over his 60 questions a minute (what is refused as busy does not count); Anna has all of hers.
  const codes = new Set<string>();
  for (let index = 0; !codes.has("rate_limited"); index++) {
    await ask(bob, "bob", { id: `flood ${index}` });
    codes.add(/"code":"(\w+)"/.exec(await bob.heard.take())?.[1] ?? "ok");
  }
  await ask(anna, "anna", { id: "a" });
  expect(await anna.heard.take()).toMatch(/^pipit\/client\/anna\/reply .*"a","status":"ok"/);
  expect(anna.heard.length).toBe(0);
}

describe("the access list that goes by user", () => {
  test.skipIf(mosquittoMissing)(
    `lets nobody ask or be answered in another's name on mosquitto${mosquittoMissing ? ` (${mosquittoMissing})` : ""}`,
    async () => {
      const access = await readFile("config/mosquitto/pipit-by-user.acl", "utf8");
      const broker = await startMosquitto({ users: USERS, access });
      cleanups.push(() => broker.stop());
      await keepsUsersApart(broker.url, access);
    },
  );

  test("lets nobody ask or be answered in another's name on the embedded broker", async () => {
    const access = "config/mosquitto/pipit-by-user.acl";
    await keepsUsersApart(await embedded(access), await readFile(access, "utf8"));
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
