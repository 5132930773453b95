// Neighbours for benchmarks: programs that take CPU time in a known way, and one that wants to be on time.
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

/** A process that uses a whole core until it is stopped. */
export class Hog {
  readonly #child: ChildProcess = spawn("sh", ["-c", "while :; do :; done"], { stdio: "ignore" });
  /** A benchmark that is stopped in the middle leaves nobody busy behind. */
  readonly #onExit = () => void this.#child.kill("SIGKILL");

  constructor() {
    process.once("exit", this.#onExit);
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  pause(): void {
    this.#child.kill("SIGSTOP");
  }

  resume(): void {
    this.#child.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await gone;
    process.off("exit", this.#onExit);
  }
}

/** Runs `use` beside so many hogs, which have settled for a second. */
export async function besideHogs<Result>(count: number, use: () => Promise<Result>): Promise<Result> {
  const hogs = Array.from({ length: count }, () => new Hog());
  try {
    if (count > 0) await sleep(1000);
    return await use();
  } finally {
    await Promise.all(hogs.map((hog) => hog.stop()));
  }
}

/** Works and rests in turns until `until` resolves. */
export async function bursts(onMs: number, offMs: number, until: Promise<unknown>): Promise<void> {
  const hog = new Hog();
  let over = false;
  void until.finally(() => (over = true));
  try {
    while (!over) {
      hog.resume();
      await sleep(onMs);
      hog.pause();
      await sleep(offMs);
    }
  } finally {
    await hog.stop();
  }
}

const TICK_MS = 100;
const WORK_MS = 2;
// Wakes every 100 ms, works 2 ms, and prints how late each waking was. It sleeps in the kernel: a timer of Node rounds to
// milliseconds.
const TICKER = `
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const start = performance.now() + ${TICK_MS};
  for (let tick = 0; ; tick++) {
    const due = start + tick * ${TICK_MS};
    Atomics.wait(cell, 0, 0, due - performance.now());
    const now = performance.now();
    while (performance.now() < now + ${WORK_MS});
    require("node:fs").writeSync(1, (now - due).toFixed(3) + "\\n");
  }
`;

/** How late a task that wakes ten times a second was each time, in ms, over so long. */
export async function lateness(forMs: number): Promise<number[]> {
  const child = spawn(process.execPath, ["-e", TICKER], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await sleep(forMs);
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await gone;
  return text.trim().split("\n").slice(5, -1).map(Number);
}
