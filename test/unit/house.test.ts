// The mechanical part of design.md §3, for the source as it lies there, and for small houses that break each rule.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import {
  HOUSE_RULES,
  MOST_LINES_OF_A_FILE,
  MOST_LINES_OF_A_FUNCTION,
  usersOfPackages,
} from "../fixtures/house-rules.ts";
import { parseSource, readTree } from "../fixtures/source-tree.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const source = readTree(path.join(ROOT, "src"));
const readJson = (name: string): unknown => JSON.parse(readFileSync(path.join(ROOT, name), "utf8"));

interface Manifest {
  dependencies: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}
interface Lock {
  packages: Record<string, { name?: string; cpu?: string[]; resolved?: string }>;
}

describe("the house", () => {
  test("has rooms to be looked at", () => {
    expect(source.length).toBeGreaterThan(40);
    expect(source.flatMap(({ functions }) => functions).length).toBeGreaterThan(200);
  });

  test.each(Object.entries(HOUSE_RULES))("%s", (_, rule) => {
    expect(rule(source)).toEqual([]);
  });

  test("every package that is imported is a declared dependency of the program", () => {
    const { dependencies, optionalDependencies } = readJson("package.json") as Manifest;
    const declared = Object.keys({ ...dependencies, ...optionalDependencies });
    expect([...usersOfPackages(source).keys()].filter((name) => !declared.includes(name))).toEqual([]);
  });

  const architecture = path.join(ROOT, "ARCHITECTURE.md");
  test.skipIf(!existsSync(architecture))("every path that ARCHITECTURE.md names exists", () => {
    const named = pathsIn(readFileSync(architecture, "utf8"));
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !existsSync(path.join(ROOT, name)))).toEqual([]);
  });
});

/** Paths in back-quotes or in links, where the first folder or the ending says that a path is meant. */
function pathsIn(markdown: string): string[] {
  const quoted = [...markdown.matchAll(/`([^`\s]+)`|\]\(([^)#\s]+)/g)].map((match) => match[1] ?? match[2] ?? "");
  const folders = /^(src|test|config|deploy|systemd|scripts|docs|\.ci)\//;
  return quoted.filter((name) => folders.test(name) && !/[*<>{}…]/.test(name));
}

describe("the rules see", () => {
  const broken: [rule: string, files: Record<string, string>, fault: string][] = [
    ["lies in a room", { "attic/box.ts": "" }, "attic/box.ts: no such room"],
    ["go down", { "core/a.ts": `import "../work/b.ts"` }, "core/a.ts imports work/b.ts: floor 0 to 2"],
    ["go down", { "mqtt/a.ts": `export { b } from "../engine/b.ts"` }, "mqtt/a.ts imports engine/b.ts: floor 1 to 1"],
    ["go down", { "work/a.ts": `await import("../app.ts")` }, "work/a.ts imports app.ts: floor 2 to 3"],
    ["go down", { "work/a.ts": `type A = import("../commands/run.ts").A` }, "floor 2 to 4"],
    ["ends in .ts", { "core/a.ts": `import "./b.js"` }, "core/a.ts imports core/b.js, which is no source file"],
    ["core imports nothing", { "core/a.ts": `import fs from "node:fs"` }, "core/a.ts imports node:fs"],
    ["core imports nothing", { "core/a.ts": `import type { A } from "pino"` }, "core/a.ts imports pino"],
    ["only in its room", { "work/a.ts": `import mqtt from "mqtt"` }, "work/a.ts imports mqtt, home of mqtt"],
    ["only in its room", { "work/a.ts": `require("koffi")` }, "work/a.ts imports koffi, home of systemd"],
    ["only in its room", { "engine/a.ts": `import "left-pad/x.js"` }, "left-pad has no home, imported by engine/a.ts"],
    [
      "only in its room",
      { "work/a.ts": `import "node-cron"`, "work/b.ts": `import "node-cron"` },
      "node-cron is imported by work/a.ts and work/b.ts",
    ],
    [
      "in a circle",
      { "core/a.ts": `import "./b.ts"`, "core/b.ts": `import "./c.ts"`, "core/c.ts": `import "./a.ts"` },
      "core/a.ts → core/b.ts → core/c.ts → core/a.ts",
    ],
    [
      `more than ${MOST_LINES_OF_A_FILE} lines`,
      { "core/a.ts": "\n".repeat(MOST_LINES_OF_A_FILE + 1) },
      "core/a.ts has 321 lines",
    ],
    [
      `more than ${MOST_LINES_OF_A_FUNCTION} lines`,
      { "core/a.ts": `const long = () => {${"\n".repeat(MOST_LINES_OF_A_FUNCTION)}};` },
      "core/a.ts:1 long has 71 lines",
    ],
    ["heap of things", { "mqtt/utils/a.ts": "" }, "mqtt/utils/a.ts"],
    ["kebab-case", { "core/bigThing.ts": "" }, "core/bigThing.ts"],
    ["edge of a process", { "work/a.ts": "process.exit(1);" }, "work/a.ts calls process.exit"],
  ];

  test.each(broken.map(([rule, files, fault]) => ({ rule, files, fault })))(
    "$rule: $fault",
    ({ rule, files, fault }) => {
      const [, check] = Object.entries(HOUSE_RULES).find(([name]) => name.includes(rule)) ?? [];
      const faults = check?.(Object.entries(files).map(([name, text]) => parseSource(name, text)));
      expect(faults).toEqual([expect.stringContaining(fault)]);
    },
  );

  test("nothing wrong with a house in order", () => {
    const files = {
      "core/a.ts": `import type { B } from "./b.ts";`,
      "core/b.ts": "export type B = 1;",
      "engine/c.ts": `import { getLlama } from "node-llama-cpp"; import "../core/a.ts"; import "node:fs";`,
      "engine/child.ts": "process.exit(0);",
      "main.ts": `import "./app.ts"; process.exit(0);`,
      "app.ts": `import "./engine/c.ts";`,
    };
    const parsed = Object.entries(files).map(([name, text]) => parseSource(name, text));
    expect(Object.values(HOUSE_RULES).flatMap((rule) => rule(parsed))).toEqual([]);
  });
});

describe("the dependency tree", () => {
  const builds = "node_modules/@node-llama-cpp/";
  const { packages } = readJson("package-lock.json") as Lock;

  test.skipIf(process.platform !== "linux")("holds the native build of this machine and no other", () => {
    const processor = process.arch === "arm" ? "armv7l" : process.arch;
    expect(readdirSync(path.join(ROOT, builds))).toEqual([`linux-${processor}`]);
  });

  test("keeps in the lock file for which processor each build is, or every machine would install all of them", () => {
    const real = Object.entries(packages).filter(([name, { name: alias }]) => name.startsWith(builds) && !alias);
    expect(Object.fromEntries(real.map(([name, { cpu }]) => [name.slice(builds.length), cpu]))).toEqual({
      "linux-arm64": ["arm64"],
      "linux-armv7l": ["arm"],
      "linux-x64": ["x64"],
    });
  });
});
