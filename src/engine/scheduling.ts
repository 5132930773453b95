// How the kernel weighs the compute threads against every other program of the board, so that whoever wakes up is on time.
//
// While a core is free, the threads yield: under SCHED_IDLE a program that wakes up beside them has its core at once. A
// program that wakes 40 times a second is more than 1 ms late in 15 to 20 % of its wakings beside threads of the usual
// policy, in 1 % beside yielding ones, in 0.4 % on an idle board (2 cores, Linux 6.18). Where neighbours want every core,
// yielding threads would starve (a weight of 3 against 1024): there the usual policy gives them their fair share.
//
// Under the usual policy they ask for a slice a little longer than usual, which brings no more CPU time but lets whoever
// has a shorter one preempt them (Linux 6.12 and later). Only a little: two compute threads that share a core may wait for
// each other a slice at every barrier. Threads that are made later inherit both.
import { readdirSync, readFileSync } from "node:fs";
import { getPriority } from "node:os";

const SCHED_NORMAL = 0;
const SCHED_IDLE = 5;
const LONGER_NS = 100_000n;
/** The call that sets a thread's attributes; the one that reads them is next to it. */
const SYS_SCHED_SETATTR: Partial<Record<NodeJS.Architecture, number>> = { x64: 314, arm64: 274, arm: 380 };
const RUNTIME_AT = 24;
/** `struct sched_attr` of its first version: size, policy, flags, nice, priority, runtime, deadline, period. */
const ATTRIBUTE_BYTES = 48;
const CAP_SYS_NICE = 23n;

type Syscall = (number: number, thread: number, attributes: Buffer, third: number, flags: number) => number;

/** The scheduling of all threads of this process. Without koffi, or where a sandbox forbids the calls, nothing changes. */
export class Scheduling {
  readonly #call: Syscall;
  readonly #setattr: number;
  readonly #usual: Buffer;
  readonly #idle: Buffer;
  readonly #mayYield: boolean;
  #yielding = false;

  private constructor(call: Syscall, setattr: number) {
    this.#call = call;
    this.#setattr = setattr;
    const before = Buffer.alloc(ATTRIBUTE_BYTES);
    call(setattr + 1, 0, before, ATTRIBUTE_BYTES, 0);
    const usualNs = before.readBigUInt64LE(RUNTIME_AT);
    // Before Linux 6.12 there is no slice to ask for.
    this.#usual = attributesOf(SCHED_NORMAL, usualNs === 0n ? 0n : usualNs + LONGER_NS);
    this.#idle = attributesOf(SCHED_IDLE, 0n);
    this.#mayYield = mayLeaveIdle(getPriority());
  }

  /** Asks for the longer slice; undefined where the threads cannot be set. */
  static async open(): Promise<Scheduling | undefined> {
    const setattr = SYS_SCHED_SETATTR[process.arch];
    if (process.platform !== "linux" || setattr === undefined) return undefined;
    try {
      const { default: koffi } = await import("koffi");
      const call = koffi
        .load("libc.so.6")
        .func("long syscall(long number, int thread, void *attributes, unsigned int third, unsigned int flags)");
      const scheduling = new Scheduling(call as Syscall, setattr);
      return scheduling.#setAll(scheduling.#usual) ? scheduling : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * From now on, also in the middle of a batch. All threads but the one that hears of it: it would starve with the others
   * before it could end that. It only passes messages on.
   */
  setYielding(yielding: boolean): void {
    if (yielding === this.#yielding || (yielding && !this.#mayYield)) return;
    this.#yielding = yielding;
    this.#setAll(yielding ? this.#idle : this.#usual, (thread) => thread !== process.pid);
  }

  /** A thread may end between being listed and being set: no failure of the others. */
  #setAll(attributes: Buffer, wanted: (thread: number) => boolean = () => true): boolean {
    const threads = readdirSync("/proc/self/task").map(Number).filter(wanted);
    return threads.map((thread) => this.#call(this.#setattr, thread, attributes, 0, 0)).includes(0);
  }
}

/**
 * Whether a thread under SCHED_IDLE may go back: the kernel wants CAP_SYS_NICE, or RLIMIT_NICE to allow its nice level
 * (sched(7)). The capability counts in the first user namespace only.
 */
export function mayLeaveIdle(
  nice: number,
  read: (path: string) => string = (path) => readFileSync(path, "utf8"),
): boolean {
  const limit = /^Max nice priority\s+(\d+)/m.exec(read("/proc/self/limits"))?.[1] ?? "0";
  if (Number(limit) >= 20 - nice) return true;
  const capabilities = BigInt(`0x${/^CapEff:\s+([0-9a-f]+)/m.exec(read("/proc/self/status"))?.[1] ?? "0"}`);
  const firstNamespace = /^\s*0\s+0\s+4294967295\s*$/.test(read("/proc/self/uid_map"));
  return firstNamespace && ((capabilities >> CAP_SYS_NICE) & 1n) === 1n;
}

/** With the nice level as it is. */
function attributesOf(policy: number, sliceNs: bigint): Buffer {
  const bytes = Buffer.alloc(ATTRIBUTE_BYTES);
  bytes.writeUInt32LE(ATTRIBUTE_BYTES, 0);
  bytes.writeUInt32LE(policy, 4);
  bytes.writeInt32LE(getPriority(), 16);
  bytes.writeBigUInt64LE(sliceNs, RUNTIME_AT);
  return bytes;
}
