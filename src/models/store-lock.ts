// One holder at a time, between processes: a Unix socket in Linux's abstract namespace. The kernel frees it when the
// holder exits, however it dies, so there is no stale lock to break; a waiter connects and wakes when the holder is gone.
// It does not reach over network namespaces (containers that share a directory). There two fetches may both run; what
// each stores is still verified and renamed into place whole.
import { createHash } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const RETRY_MS = 100;

export interface LockOptions {
  signal?: AbortSignal | undefined;
  /** Called once when somebody else holds the lock. */
  onWait?: (() => void) | undefined;
}

/** Runs `run` while holding the lock called `name`. */
export async function withLock<T>(name: string, run: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  // 108 bytes is all an address may have: the name is hashed.
  const address = `\0pipit-models-${createHash("sha256").update(name).digest("hex").slice(0, 40)}`;
  const waiters = new Set<Socket>();
  let told = false;
  for (;;) {
    options.signal?.throwIfAborted();
    const server = await listen(address, waiters);
    if (server !== undefined) {
      try {
        return await run();
      } finally {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        for (const socket of waiters) socket.destroy();
        await closed;
      }
    }
    if (!told) options.onWait?.();
    told = true;
    await holderGone(address, options.signal);
  }
}

/** The listening server, or undefined when the address is taken. */
function listen(address: string, waiters: Set<Socket>): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      waiters.add(socket);
      socket.on("close", () => waiters.delete(socket));
      socket.on("error", () => socket.destroy());
    });
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(error);
    });
    server.listen(address, () => resolve(server));
  });
}

async function holderGone(address: string, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  const connected = await new Promise<boolean>((resolve) => {
    const socket = connect(address);
    let connected = false;
    const leave = () => socket.destroy();
    signal?.addEventListener("abort", leave, { once: true });
    socket.on("connect", () => (connected = true));
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      signal?.removeEventListener("abort", leave);
      resolve(connected);
    });
    socket.resume();
  });
  // A holder that went between our listen and our connect, or too many waiters: try again, but do not spin.
  if (!connected) await delay(RETRY_MS, undefined, { signal });
}
