// How the model's process is started: what keeps its compute threads from colliding and its heap small.
import { type ChildProcess, fork } from "node:child_process";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";

export interface ChildOptions {
  /** Built entry of the child; the default lies beside this file. */
  entry?: string;
  /** Nice level of the child, 0 to 19. */
  nice: number;
}

/**
 * One thread in libuv's pool, because a batch occupies one and a second one would compete with the compute threads for a
 * core: 45 tok/s with the default pool of 4, 69 to 86 with 1 (2 threads, 2 cores, design.md §1).
 */
const ENVIRONMENT = { UV_THREADPOOL_SIZE: "1" };
/** JavaScript moves little here: small young generation, 264 → 238 MB PSS at the same speed (design.md §1). */
const NODE_OPTIONS = ["--max-semi-space-size=1", "--optimize-for-size"];

export function spawnChild({ entry, nice }: ChildOptions): ChildProcess {
  const child = fork(entry ?? fileURLToPath(new URL("./child.js", import.meta.url)), [], {
    env: { ...process.env, ...ENVIRONMENT },
    execArgv: NODE_OPTIONS,
    serialization: "advanced",
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  if (child.pid !== undefined && nice > 0) yieldTo(child.pid, nice);
  return child;
}

function yieldTo(pid: number, nice: number): void {
  try {
    setPriority(pid, nice);
  } catch {
    // A hardened unit may forbid setpriority (systemd's @resources); CPUWeight of the unit does the same there.
  }
}
