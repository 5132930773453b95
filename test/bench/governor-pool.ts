// Why the model's process has one thread in libuv's pool, and what else was tried for its set-up. A batch is a job of the
// pool; with four pool threads the batches of one answer go round all four (CPU time by thread: 128, 126, 135, 175 ms of one
// answer, against 549 ms in one thread). Each wakes on the core it last ran on, which may be the one where the compute thread
// that ggml has just made for this batch runs: then two threads that spin for each other share a core until the scheduler
// moves one.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { median, type Row } from "./bench.ts";
import { modelPath } from "./governor-rig.ts";

/** Two compute threads each; `before` is what starts the process. */
const VARIANTS: { name: string; pool: number; before?: string[]; pinned?: string }[] = [
  { name: "pool of 1", pool: 1 },
  { name: "pool of 2", pool: 2 },
  { name: "pool of 4 (Node's default)", pool: 4 },
  { name: "pool of 1, nice 5", pool: 1, before: ["nice", "-n", "5"] },
  { name: "pool of 1, nice 10", pool: 1, before: ["nice", "-n", "10"] },
  { name: "pool of 1, SCHED_BATCH", pool: 1, before: ["chrt", "--batch", "0"] },
  // Compute threads inherit the pool thread's affinity, so that one cannot be pinned; the JavaScript thread can.
  { name: "pool of 1, JavaScript thread on core 0", pool: 1, pinned: "0" },
];
const ROUNDS = 3;
const TOKENS = 64;

/** In turns, so that drift of the machine hits all alike. */
export function poolRows(report: (row: Row) => void): Promise<void> {
  const model = modelPath();
  const script = fileURLToPath(new URL("./bare-loop.js", import.meta.url));
  const speeds = VARIANTS.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, { pool, before = [], pinned }] of VARIANTS.entries()) {
      const [program = "", ...args] = [...before, process.execPath, "--max-semi-space-size=1", script];
      const env = { ...process.env, UV_THREADPOOL_SIZE: String(pool), ...(pinned && { PIPIT_BENCH_PIN: pinned }) };
      const output = execFileSync(program, [...args, model, "2", String(TOKENS), "1"], { env });
      speeds[index]?.push(1000 / median(JSON.parse(output.toString()) as number[]));
    }
  }
  const ofOne = speeds[0] ?? [];
  for (const [index, { name }] of VARIANTS.entries()) {
    const own = speeds[index] ?? [];
    report({
      case: `2 threads, ${name}`,
      measured: median(own),
      unit: "tok/s",
      baseline: median(own.map((speed, round) => speed / (ofOne[round] ?? NaN))),
      baseline_name: "times a pool of 1, paired",
    });
  }
  return Promise.resolve();
}
