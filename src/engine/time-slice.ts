// Every other program that wakes up shall get a core from the compute threads at once, not when their time slice ends: a
// task that asks for a long slice gets no more CPU, but is preempted by whoever asks for a shorter one (Linux 6.12 and
// later; before, the kernel ignores the wish). Threads that are made later inherit it.
import { readdirSync } from "node:fs";
import { getPriority } from "node:os";

/** The longest that the kernel takes; its default is 3 ms or less. */
const SLICE_NS = 100_000_000n;
const SYS_SCHED_SETATTR: Partial<Record<NodeJS.Architecture, number>> = { x64: 314, arm64: 274, arm: 380 };
/** `struct sched_attr` of its first version: size, policy, flags, nice, priority, runtime, deadline, period. */
const ATTRIBUTE_BYTES = 48;

/** Whether all threads of this process have it. Without koffi, or where a sandbox forbids the call, nothing changes. */
export async function askForLongSlice(): Promise<boolean> {
  const number = SYS_SCHED_SETATTR[process.arch];
  if (process.platform !== "linux" || number === undefined) return false;
  try {
    const { default: koffi } = await import("koffi");
    const setAttributes = koffi
      .load("libc.so.6")
      .func("long syscall(long number, int thread, void *attributes, unsigned int flags)");
    const attributes = attributesOf(getPriority());
    return readdirSync("/proc/self/task").every((thread) => setAttributes(number, Number(thread), attributes, 0) === 0);
  } catch {
    return false;
  }
}

/** The usual policy (0) with the nice level as it is. */
function attributesOf(nice: number): Buffer {
  const bytes = Buffer.alloc(ATTRIBUTE_BYTES);
  bytes.writeUInt32LE(ATTRIBUTE_BYTES, 0);
  bytes.writeInt32LE(nice, 16);
  bytes.writeBigUInt64LE(SLICE_NS, 24);
  return bytes;
}
