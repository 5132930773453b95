import { defineConfig } from "vitest/config";

// Projects by what they need: unit (nothing), integration (sockets, a mosquitto process), model (the real SmolLM2), fuzz (a minute),
// chaos (mosquitto and minutes), system (root and booted containers; two files at a time, after all others).
// Forked, because the engine forks children of its own and nothing may be shared between files.
const project = (
  name: string,
  include: string[],
  testTimeout: number,
  more: {
    fileParallelism?: boolean;
    maxWorkers?: number;
    globalSetup?: string;
    sequence?: { groupOrder: number };
  } = {},
) => ({
  test: { name, include, testTimeout, hookTimeout: 120_000, pool: "forks" as const, ...more },
});

export default defineConfig({
  test: {
    globalSetup: "test/build.ts",
    projects: [
      project("unit", ["test/unit/**/*.test.ts", "test/contract/**/*.test.ts"], 10_000),
      project("integration", ["test/integration/**/*.test.ts"], 60_000, { fileParallelism: false }),
      project("fuzz", ["test/fuzz/**/*.test.ts"], 60_000),
      project("chaos", ["test/chaos/**/*.test.ts"], 400_000, { fileParallelism: false }),
      project("model", ["test/model/**/*.test.ts"], 120_000, { fileParallelism: false }),
      project("system", ["test/system/**/*.test.ts"], 600_000, {
        maxWorkers: 2,
        sequence: { groupOrder: 1 },
        globalSetup: "test/system/prepare.ts",
      }),
    ],
  },
});
