// Every other program that wakes up shall get a core from the compute threads at once, not when their time slice ends: a
// task that asks for a longer slice gets no more CPU, but is preempted by whoever has a shorter one (Linux 6.12 and later).
// Only a little longer than usual: two compute threads that share a core may wait for each other a slice at every barrier.
// Threads that are made later inherit it.
import { readdirSync } from "node:fs";
import { getPriority } from "node:os";

const LONGER_NS = 100_000n;
/** The call that sets a thread's attributes; the one that reads them is next to it. */
const SYS_SCHED_SETATTR: Partial<Record<NodeJS.Architecture, number>> = { x64: 314, arm64: 274, arm: 380 };
const RUNTIME_AT = 24;
/** `struct sched_attr` of its first version: size, policy, flags, nice, priority, runtime, deadline, period. */
const ATTRIBUTE_BYTES = 48;

/** Whether all threads of this process have it. Without koffi, or where a sandbox forbids the calls, nothing changes. */
export async function askForLongerSlice(): Promise<boolean> {
  const set = SYS_SCHED_SETATTR[process.arch];
  if (process.platform !== "linux" || set === undefined) return false;
  try {
    const { default: koffi } = await import("koffi");
    const call = koffi
      .load("libc.so.6")
      .func("long syscall(long number, int thread, void *attributes, unsigned int third, unsigned int flags)");
    const usual = Buffer.alloc(ATTRIBUTE_BYTES);
    call(set + 1, 0, usual, ATTRIBUTE_BYTES, 0);
    const usualNs = usual.readBigUInt64LE(RUNTIME_AT);
    if (usualNs === 0n) return false; // an older kernel
    const wanted = attributesOf(getPriority(), usualNs + LONGER_NS);
    return readdirSync("/proc/self/task").every((thread) => call(set, Number(thread), wanted, 0, 0) === 0);
  } catch {
    return false;
  }
}

/** The usual policy (0) with the nice level as it is. */
function attributesOf(nice: number, sliceNs: bigint): Buffer {
  const bytes = Buffer.alloc(ATTRIBUTE_BYTES);
  bytes.writeUInt32LE(ATTRIBUTE_BYTES, 0);
  bytes.writeInt32LE(nice, 16);
  bytes.writeBigUInt64LE(sliceNs, RUNTIME_AT);
  return bytes;
}
