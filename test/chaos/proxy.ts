// A network that misbehaves on purpose: forwards TCP to a port of this machine through toxics, by the names and meanings of
// toxiproxy's seven. Both directions pass through the same toxics, in the order given.
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import type { Random } from "../fakes/random.ts";

export type Toxic =
  /** Every byte arrives so much later, give or take the jitter; the order stays. */
  | { kind: "latency"; ms: number; jitterMs?: number }
  | { kind: "bandwidth"; bytesPerSecond: number }
  /** Bytes are swallowed; the connection is closed after `ms`, with 0 never: half open. */
  | { kind: "timeout"; ms: number }
  /** Pieces of about so many bytes, with a pause between them. */
  | { kind: "slicer"; bytes: number; delayMs: number }
  /** The connection is closed after so many bytes. */
  | { kind: "limit_data"; bytes: number }
  /** The connection is reset after `ms`. */
  | { kind: "reset_peer"; ms: number }
  /** Connections are closed, new ones refused. */
  | { kind: "down" };

export type ToxicKind = Toxic["kind"];

export const TOXIC_KINDS: readonly ToxicKind[] = [
  "latency",
  "bandwidth",
  "timeout",
  "slicer",
  "limit_data",
  "reset_peer",
  "down",
];

export class ChaosProxy {
  readonly #target: number;
  readonly #random: Random;
  readonly #connections = new Set<Connection>();
  #toxics: readonly Toxic[] = [];
  #server: Server | undefined;
  #port = 0;

  constructor(target: number, random: Random) {
    this.#target = target;
    this.#random = random;
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#connections.size;
  }

  async start(): Promise<void> {
    await this.#listen();
  }

  async stop(): Promise<void> {
    this.cut();
    await this.#close();
  }

  /** Takes effect on new connections and on those that stand; `present` leaves new ones clean. */
  async poison(toxics: readonly Toxic[], to: "all" | "present" = "all"): Promise<void> {
    const down = toxics.some(({ kind }) => kind === "down");
    if (to === "all") this.#toxics = toxics;
    if (down) return this.stop();
    for (const connection of this.#connections) connection.poison(toxics);
    if (this.#server === undefined) await this.#listen();
  }

  /** Breaks every connection; new ones are welcome. */
  cut(): void {
    for (const connection of this.#connections) connection.close();
  }

  async #listen(): Promise<void> {
    const server = createServer({ noDelay: true }, (near) => {
      const far = connect({ port: this.#target, host: "127.0.0.1", noDelay: true });
      const connection = new Connection(near, far, this.#random, () => this.#connections.delete(connection));
      this.#connections.add(connection);
      connection.poison(this.#toxics);
    });
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
  }

  async #close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

class Connection {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #random: Random;
  #toxics: readonly Toxic[] = [];
  #timers = new Set<NodeJS.Timeout>();
  #passed = 0;
  /** Bytes were swallowed: the stream is worth nothing once they flow again. */
  #torn = false;

  constructor(near: Socket, far: Socket, random: Random, onClose: () => void) {
    this.#near = near;
    this.#far = far;
    this.#random = random;
    this.#forward(near, far);
    this.#forward(far, near);
    near.once("close", onClose);
  }

  poison(toxics: readonly Toxic[]): void {
    if (this.#torn) return this.close();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#toxics = toxics;
    for (const toxic of toxics) {
      if (toxic.kind === "timeout" && toxic.ms > 0) this.#later(toxic.ms, () => this.close());
      if (toxic.kind === "reset_peer") {
        this.#later(toxic.ms, () => {
          this.#near.resetAndDestroy();
          this.#far.resetAndDestroy();
        });
      }
    }
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#near.destroy();
    this.#far.destroy();
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }

  /** One chunk after the other, so that the order stays; the time of arrival counts, not that of the turn. */
  #forward(from: Socket, to: Socket): void {
    let last = Promise.resolve();
    from.on("data", (chunk: Buffer) => {
      const arrivedMs = performance.now();
      last = last.then(() => this.#pass(chunk, to, arrivedMs));
    });
    from.on("error", () => undefined);
    from.once("close", () => void last.then(() => to.destroy()));
  }

  async #pass(chunk: Buffer, to: Socket, arrivedMs: number): Promise<void> {
    let bytes = chunk;
    let pieces = [chunk];
    let pauseMs = 0;
    for (const toxic of this.#toxics) {
      switch (toxic.kind) {
        case "latency": {
          const jitterMs = (this.#random.next() * 2 - 1) * (toxic.jitterMs ?? 0);
          await this.#pause(arrivedMs + toxic.ms + jitterMs - performance.now());
          break;
        }
        case "bandwidth":
          await this.#pause((1000 * bytes.length) / toxic.bytesPerSecond);
          break;
        case "timeout":
          this.#torn = true;
          return;
        case "limit_data":
          bytes = bytes.subarray(0, Math.max(0, toxic.bytes - this.#passed));
          pieces = [bytes];
          break;
        case "slicer":
          pieces = sliced(bytes, toxic.bytes, this.#random);
          pauseMs = toxic.delayMs;
          break;
        case "reset_peer":
        case "down":
          break;
      }
    }
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) await this.#pause(pauseMs);
      if (piece.length > 0 && to.writable) to.write(piece);
    }
    this.#passed += bytes.length;
    if (bytes.length < chunk.length) to.end(() => this.close());
  }

  #pause(ms: number): Promise<void> {
    if (ms <= 0 || this.#near.destroyed) return Promise.resolve();
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}

function sliced(bytes: Buffer, size: number, random: Random): Buffer[] {
  const pieces: Buffer[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = start + 1 + random.below(2 * size - 1);
    pieces.push(bytes.subarray(start, end));
    start = end;
  }
  return pieces;
}
