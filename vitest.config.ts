import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** The files that take minutes, in the order that keeps all workers busy to the end. */
const LONGEST = ["soak", "fleet", "faults", "install", "power-cut"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

// Projects by what they need: unit (nothing), integration (sockets, a mosquitto process), model (the real SmolLM2), fuzz (a minute),
// system (root and booted containers; two files at a time, after those), chaos (mosquitto and six minutes; at the end).
// Forked, because the engine forks children of its own and nothing may be shared between files.
const project = (
  name: string,
  include: string[],
  testTimeout: number,
  more: {
    fileParallelism?: boolean;
    maxWorkers?: number;
    exclude?: string[];
    globalSetup?: string;
    sequence?: { groupOrder: number };
  } = {},
) => ({
  test: { name, include, testTimeout, hookTimeout: 120_000, pool: "forks" as const, ...more },
});

export default defineConfig({
  test: {
    globalSetup: "test/build.ts",
    sequence: { sequencer: LongestFirst },
    projects: [
      project("unit", ["test/unit/**/*.test.ts", "test/contract/**/*.test.ts"], 10_000),
      project("integration", ["test/integration/**/*.test.ts"], 60_000, { fileParallelism: false }),
      project("fuzz", ["test/fuzz/**/*.test.ts"], 60_000),
      // After the others; they mostly wait, the soak for five minutes, so several at once.
      project("chaos", ["test/chaos/**/*.test.ts"], 400_000, { maxWorkers: 3, sequence: { groupOrder: 2 } }),
      project("model", ["test/model/**/*.test.ts"], 120_000, { fileParallelism: false }),
      project("system", ["test/system/**/*.test.ts"], 600_000, {
        maxWorkers: 2,
        sequence: { groupOrder: 1 },
        // What takes ten minutes and more by itself is for `full`.
        exclude: process.env["PIPIT_TEST_SYSTEM"] === "full" ? [] : ["**/*.full.test.ts"],
        globalSetup: "test/system/prepare.ts",
      }),
    ],
  },
});
