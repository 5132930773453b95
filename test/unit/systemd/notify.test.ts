import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { Logger } from "../../../src/core/ports.ts";
import { openWithChild, openWithKoffi, socketAddress } from "../../../src/systemd/datagram.ts";
import { Notifier, type NotifierOptions } from "../../../src/systemd/notify.ts";
import { listen, type Receiver } from "./receiver.ts";

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Line {
  level: string;
  message: string;
}

function recorder(): { logger: Logger; lines: Line[] } {
  const lines: Line[] = [];
  const write = (level: string) => (_fields: object, message: string) => void lines.push({ level, message });
  const logger: Logger = {
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    child: () => logger,
  };
  return { logger, lines };
}

async function receiver(name?: string): Promise<{ path: string; receiver: Receiver }> {
  const directory = await mkdtemp(join(tmpdir(), "pipit-notify-"));
  cleanups.push(() => rm(directory, { recursive: true }));
  const path = name ?? join(directory, "notify");
  const made = await listen(path);
  cleanups.push(() => made.close());
  return { path, receiver: made };
}

async function notifier(env: NodeJS.ProcessEnv, options: Partial<NotifierOptions> = {}): Promise<Notifier> {
  const made = new Notifier({
    env: { PATH: process.env["PATH"], ...env },
    pid: 4711,
    logger: recorder().logger,
    ...options,
  });
  await made.start();
  cleanups.push(() => made.stop());
  return made;
}

const none = { openers: [() => Promise.reject(new Error("no build of koffi for this machine"))] };

describe("a notifier under a service manager", () => {
  it.each([
    ["koffi", openWithKoffi],
    ["systemd-notify", openWithChild],
  ] as const)("sends every kind of message in order through %s", async (means, opener) => {
    const { path, receiver: manager } = await receiver();
    const notify = await notifier({ NOTIFY_SOCKET: path }, { openers: [opener], monotonicUs: () => 1_234_567n });
    expect(notify.means).toBe(means);
    notify.status("Loading smollm2\n  (40 %)");
    notify.extendTimeout(90_000);
    notify.ready("Answering on pipit/bench");
    notify.beat();
    notify.reloading();
    notify.stopping("Finishing 1 question");
    expect(await manager.next()).toEqual(["STATUS=Loading smollm2 (40 %)"]);
    expect(await manager.next()).toEqual(["EXTEND_TIMEOUT_USEC=90000000"]);
    expect(await manager.next()).toEqual(["READY=1", "STATUS=Answering on pipit/bench"]);
    expect(await manager.next()).toEqual(["WATCHDOG=1"]);
    expect(await manager.next()).toEqual([
      "RELOADING=1",
      "MONOTONIC_USEC=1234567",
      "STATUS=Reloading the configuration",
    ]);
    expect(await manager.next()).toEqual(["STOPPING=1", "STATUS=Finishing 1 question"]);
  });

  it("reaches an abstract socket", async () => {
    const { path, receiver: manager } = await receiver(`@pipit-test-${process.pid}`);
    const notify = await notifier({ NOTIFY_SOCKET: path }, { openers: [openWithKoffi] });
    notify.beat();
    expect(await manager.next()).toEqual(["WATCHDOG=1"]);
  });

  it("has sent everything when stop resolves, and may be stopped twice", async () => {
    const { path, receiver: manager } = await receiver();
    const notify = await notifier({ NOTIFY_SOCKET: path }, { openers: [openWithChild] });
    notify.stopping("Bye");
    await notify.stop();
    await notify.stop();
    expect(await manager.next()).toEqual(["STOPPING=1", "STATUS=Bye"]);
    expect(notify.means).toBe("none");
  });

  it("takes the monotonic clock that systemd compares with", async () => {
    const { path, receiver: manager } = await receiver();
    const notify = await notifier({ NOTIFY_SOCKET: path });
    notify.reloading();
    const line = (await manager.next()).find((text) => text.startsWith("MONOTONIC_USEC="));
    const nowUs = process.hrtime.bigint() / 1000n;
    const sentUs = BigInt(line?.split("=")[1] ?? "0");
    expect(nowUs - sentUs).toBeGreaterThanOrEqual(0n);
    expect(nowUs - sentUs).toBeLessThan(10_000_000n);
  });

  it("logs a manager that is gone once, goes on, and says nothing when it is back", async () => {
    const { logger, lines } = recorder();
    const { path, receiver: manager } = await receiver(`@pipit-gone-${process.pid}`);
    const notify = await notifier({ NOTIFY_SOCKET: path }, { logger, openers: [openWithKoffi] });
    await manager.close();
    notify.beat();
    notify.beat();
    const back = await receiver(path);
    notify.beat();
    expect(await back.receiver.next()).toEqual(["WATCHDOG=1"]);
    expect(lines.filter((line) => line.level === "warn").map((line) => line.message)).toEqual(["notifying failed"]);
  });

  it("says that systemd-notify needs NotifyAccess=all when koffi is not usable", async () => {
    const { logger, lines } = recorder();
    const { path } = await receiver();
    const notify = await notifier({ NOTIFY_SOCKET: path }, { logger, openers: [...none.openers, openWithChild] });
    expect(notify.means).toBe("systemd-notify");
    expect(lines).toContainEqual({ level: "warn", message: expect.stringContaining("NotifyAccess=all") as string });
  });
});

describe("a notifier without a service manager", () => {
  it("is a no-op with one log line", async () => {
    const { logger, lines } = recorder();
    const notify = await notifier({}, { logger });
    notify.ready("Answering");
    notify.beat();
    await notify.stop();
    expect(notify.means).toBe("none");
    expect(lines).toEqual([{ level: "info", message: "no service manager to notify" }]);
  });

  it.each([
    ["no socket is named", {}, {}, "NOTIFY_SOCKET is not set"],
    ["no sender works", { NOTIFY_SOCKET: "/nowhere" }, none, "no build of koffi for this machine"],
    ["the socket is of a kind it cannot open", { NOTIFY_SOCKET: "vsock:2:1234" }, {}, "got vsock:2:1234"],
    [
      "the socket's path is too long",
      { NOTIFY_SOCKET: `/${"x".repeat(120)}` },
      { openers: [openWithKoffi] },
      "107 bytes",
    ],
  ])("refuses a watchdog it cannot feed: %s", async (_case, env, options, reason) => {
    const refused = notifier({ WATCHDOG_USEC: "60000000", ...env }, options);
    await expect(refused).rejects.toMatchObject({ kind: "config", code: "notify_unavailable" });
    await expect(refused).rejects.toThrow(reason);
  });
});

describe("the watchdog period", () => {
  it.each([
    [{ WATCHDOG_USEC: "60000000" }, 60_000],
    [{ WATCHDOG_USEC: "60000000", WATCHDOG_PID: "4711" }, 60_000],
    [{ WATCHDOG_USEC: "60000000", WATCHDOG_PID: "1" }, undefined],
    [{ WATCHDOG_USEC: "0" }, undefined],
    [{ WATCHDOG_USEC: "soon" }, undefined],
    [{}, undefined],
  ])("of %j is %s ms for process 4711", (env, expected) => {
    expect(new Notifier({ env, pid: 4711, logger: recorder().logger }).watchdogMs).toBe(expected);
  });
});

it("writes an address as the kernel reads it", () => {
  expect([...socketAddress("/a")]).toEqual([1, 0, 0x2f, 0x61, 0]);
  expect([...socketAddress("@a")]).toEqual([1, 0, 0, 0x61]);
});
