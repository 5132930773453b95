// Why the model's process has one thread in libuv's pool. A batch is a job of the pool; with four pool threads the batches
// of one answer go round all four (CPU time by thread: 128, 126, 135, 175 ms of one answer, against 549 ms in one thread).
// Each wakes on the core it last ran on, which may be the one where the compute thread that ggml has just made for this
// batch runs: then two threads that spin for each other share a core until the scheduler moves one.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { median, type Row } from "./bench.ts";
import { modelPath } from "./governor-rig.ts";

const VARIANTS: { name: string; pool: number; nice: number }[] = [
  { name: "pool of 1", pool: 1, nice: 0 },
  { name: "pool of 2", pool: 2, nice: 0 },
  { name: "pool of 4 (Node's default)", pool: 4, nice: 0 },
  { name: "pool of 1, nice 5", pool: 1, nice: 5 },
  { name: "pool of 1, nice 10", pool: 1, nice: 10 },
];
const ROUNDS = 5;
const TOKENS = 64;

/** In turns, so that drift of the machine hits all alike. */
export function poolRows(report: (row: Row) => void): Promise<void> {
  const model = modelPath();
  const script = fileURLToPath(new URL("./bare-loop.js", import.meta.url));
  const speeds = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++) {
    for (const { name, pool, nice } of VARIANTS) {
      const args = [
        "-n",
        String(nice),
        process.execPath,
        "--max-semi-space-size=1",
        script,
        model,
        "2",
        String(TOKENS),
        "1",
      ];
      const output = execFileSync("nice", args, { env: { ...process.env, UV_THREADPOOL_SIZE: String(pool) } });
      const ms = median(JSON.parse(output.toString()) as number[]);
      speeds.set(name, [...(speeds.get(name) ?? []), 1000 / ms]);
    }
  }
  const one = median(speeds.get(VARIANTS[0]?.name ?? "") ?? []);
  for (const { name } of VARIANTS) {
    report({
      case: `2 threads, ${name}`,
      measured: median(speeds.get(name) ?? []),
      unit: "tok/s",
      baseline: one,
      baseline_name: "pool of 1",
    });
  }
  return Promise.resolve();
}
