// `pipit/client` in a browser's clothes: bundled for the browser, run in a realm that has the globals of a web worker and nothing
// of Node's, asking over WebSocket. (In a page MQTT.js would want a Worker for its keepalive, which Node does not have.)
import { createContext, runInContext } from "node:vm";
import { build } from "vite";
import { afterEach, expect, test } from "vitest";
import { WebSocket } from "ws";
import { EmbeddedBroker } from "../../src/mqtt/embedded-broker.ts";
import type { PipitClient, PipitClientOptions } from "../../src/mqtt/client.ts";
import { FakeAgent } from "../fakes/agent.ts";
import { FakeLogger } from "../fakes/logger.ts";

let cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
  cleanups = [];
});

test("the bundled client asks, streams and closes over WebSocket, without anything of Node", async () => {
  const code = await bundle("src/mqtt/client.ts");
  expect(code).not.toMatch(/["']node:/);
  const broker = new EmbeddedBroker({ port: 0, webSocketPort: 0 }, new FakeLogger());
  await broker.start();
  cleanups.push(() => broker.stop());
  const agent = new FakeAgent(broker.url, "board");
  await agent.start();
  cleanups.push(() => agent.stop());

  const { createPipitClient } = inBrowser(code);
  const client = createPipitClient({ url: `ws://127.0.0.1:${broker.webSocketPort}`, device: "board" });
  cleanups.push(() => client.close());
  const pieces: string[] = [];
  const answer = client.ask("Grüße?", { stream: (piece) => pieces.push(piece) });
  const asked = await agent.asked.take();
  expect(asked.json["text"]).toBe("Grüße?");
  await agent.piece(asked, 0, "Grüß ");
  await agent.piece(asked, 1, "dich.", true);
  await agent.answer(asked, { text: "Grüß dich." });
  expect((await answer).text).toBe("Grüß dich.");
  expect(pieces).toEqual(["Grüß ", "dich."]);
  await client.close();
});

interface ClientModule {
  createPipitClient(options: PipitClientOptions): PipitClient;
}

async function bundle(entry: string): Promise<string> {
  const lib = { entry, formats: ["iife" as const], name: "pipit" };
  const built = await build({ configFile: false, logLevel: "silent", build: { lib, write: false, minify: false } });
  const [result] = Array.isArray(built) ? built : [built];
  if (result === undefined || !("output" in result)) throw new Error("nothing was built");
  return result.output[0].code;
}

function inBrowser(code: string): ClientModule {
  const globals: Record<string, unknown> = { WebSocket, location: { protocol: "http:" } };
  for (const name of BROWSER_GLOBALS) globals[name] = (globalThis as Record<string, unknown>)[name];
  class DedicatedWorkerGlobalScope {}
  Object.assign(globals, { self: globals, constructor: DedicatedWorkerGlobalScope, navigator: { userAgent: "test" } });
  const realm = createContext(globals);
  runInContext(code, realm);
  return runInContext("pipit", realm) as ClientModule;
}

const BROWSER_GLOBALS = [
  "AbortController",
  "AbortSignal",
  "ArrayBuffer",
  "Blob",
  "Event",
  "EventTarget",
  "MessageChannel",
  "Response",
  "TextDecoder",
  "TextEncoder",
  "URL",
  "URLSearchParams",
  "Uint8Array",
  "clearInterval",
  "clearTimeout",
  "console",
  "crypto",
  "performance",
  "queueMicrotask",
  "setInterval",
  "setTimeout",
];
