import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Random } from "../fakes/random.ts";
import { ChaosProxy } from "./proxy.ts";

vi.setConfig({ testTimeout: 10_000 });

let echo: Server;
let proxy: ChaosProxy;
const sockets: Socket[] = [];

beforeEach(async () => {
  echo = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.pipe(socket);
  });
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  proxy = new ChaosProxy((echo.address() as AddressInfo).port, new Random(1));
  await proxy.start();
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await proxy.stop();
  echo.close();
});

async function dial(): Promise<Socket> {
  const socket = connect({ port: proxy.port, host: "127.0.0.1", noDelay: true });
  sockets.push(socket);
  await once(socket, "connect");
  return socket;
}

/** Sends the text and reads as much back; how long that took and in how many pieces. */
async function roundTrip(socket: Socket, text: string): Promise<{ back: string; ms: number; pieces: number }> {
  const startMs = performance.now();
  socket.write(text);
  let back = "";
  let pieces = 0;
  while (back.length < text.length) {
    const [chunk] = (await once(socket, "data")) as [Buffer];
    back += chunk.toString();
    pieces += 1;
  }
  return { back, ms: performance.now() - startMs, pieces };
}

test("without toxics it is a wire", async () => {
  const socket = await dial();
  expect((await roundTrip(socket, "hello")).back).toBe("hello");
  expect(proxy.connections).toBe(1);
});

test("latency delays each direction, also on a connection that stands, until it is taken away", async () => {
  const socket = await dial();
  await roundTrip(socket, "x");
  await proxy.poison([{ kind: "latency", ms: 60, jitterMs: 5 }]);
  expect((await roundTrip(socket, "hello")).ms).toBeGreaterThan(105);
  await proxy.poison([]);
  expect((await roundTrip(socket, "hello")).ms).toBeLessThan(100);
});

test("bandwidth takes its time for every byte", async () => {
  await proxy.poison([{ kind: "bandwidth", bytesPerSecond: 10_000 }]);
  expect((await roundTrip(await dial(), "x".repeat(500))).ms).toBeGreaterThan(95);
});

test("slicer cuts into pieces and keeps every byte in order", async () => {
  await proxy.poison([{ kind: "slicer", bytes: 5, delayMs: 2 }]);
  const text = Array.from({ length: 40 }, (_, index) => index).join(",");
  const { back, pieces } = await roundTrip(await dial(), text);
  expect(back).toBe(text);
  expect(pieces).toBeGreaterThan(8);
});

test("limit_data closes after so many bytes, which still arrive", async () => {
  await proxy.poison([{ kind: "limit_data", bytes: 6 }]);
  const socket = await dial();
  let arrived = "";
  socket.on("data", (chunk: Buffer) => (arrived += chunk.toString()));
  socket.write("abc");
  await once(socket, "data");
  socket.write("defghi");
  await once(socket, "close");
  expect(arrived.length).toBeLessThanOrEqual(6);
});

test("timeout swallows and then closes; with 0 the connection is half open until it is poisoned again", async () => {
  const socket = await dial();
  await proxy.poison([{ kind: "timeout", ms: 40 }]);
  socket.write("lost");
  await once(socket, "close");
  await proxy.poison([]);

  const halfOpen = await dial();
  let heard = 0;
  halfOpen.on("data", () => (heard += 1));
  await proxy.poison([{ kind: "timeout", ms: 0 }], "present");
  halfOpen.write("lost");
  expect((await roundTrip(await dial(), "clean")).back).toBe("clean");
  expect(heard).toBe(0);
  const closed = once(halfOpen, "close");
  await proxy.poison([]);
  await closed;
});

test("reset_peer ends with a reset", async () => {
  await proxy.poison([{ kind: "reset_peer", ms: 20 }]);
  const socket = await dial();
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  expect(error.code).toBe("ECONNRESET");
});

test("down refuses until it is up again, on the same port", async () => {
  const { port } = proxy;
  const socket = await dial();
  const closed = once(socket, "close");
  await proxy.poison([{ kind: "down" }]);
  await closed;
  await expect(dial()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  await proxy.poison([]);
  expect(proxy.port).toBe(port);
  expect((await roundTrip(await dial(), "back")).back).toBe("back");
});
