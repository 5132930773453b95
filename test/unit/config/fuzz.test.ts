// The loader against texts nobody would write: it returns, or throws a PipitError of kind config, and nothing else.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { loadConfig } from "../../../src/config/load.ts";
import { routeKeys } from "../../../src/config/schema-route.ts";
import { allKeys, sections } from "../../../src/config/schema.ts";
import { parseYaml } from "../../../src/config/yaml-file.ts";
import { PipitError } from "../../../src/core/errors.ts";
import { tempDirectory } from "./temp.ts";

const RUNS = { numRuns: Number(process.env["FUZZ_RUNS"] ?? 150) };
const ENV = { HOME: "/nonexistent" };

/** Loads, and fails on whatever is thrown that is no PipitError of kind config. */
function load(request: Parameters<typeof loadConfig>[0]): void {
  try {
    loadConfig(request);
  } catch (error) {
    if (!(error instanceof PipitError) || error.kind !== "config") throw error;
    expect(error.message.length).toBeLessThan(60_000);
  }
}

const names = [
  ...Object.keys(sections),
  ...allKeys.map(({ name }) => name),
  ...Object.keys(routeKeys),
  "__proto__",
  "name",
];
const word = fc.oneof(fc.constantFrom(...names), fc.string());
const scalar = fc.oneof(fc.anything({ maxDepth: 2 }).filter(isYaml), fc.string(), fc.integer(), fc.double());
const entry = fc.dictionary(fc.constantFrom(...Object.keys(routeKeys)), scalar);
const section = fc.dictionary(word, fc.oneof(scalar, fc.array(entry), fc.array(scalar)));
const tree = fc.oneof(
  fc.dictionary(word, fc.oneof(section, scalar)),
  fc.record({ routes: fc.array(fc.oneof(entry, scalar)), broker: section, classify: section }),
);

/** What `stringify` can write without throwing itself. */
function isYaml(value: unknown): boolean {
  try {
    stringify(value);
    return true;
  } catch {
    return false;
  }
}

// FUZZ_RUNS=100000 takes about half an hour.
describe("the loader", { timeout: RUNS.numRuns * 200 }, () => {
  it("survives any text as a file", () => {
    const temp = tempDirectory();
    const pieces = fc.array(
      fc.constantFrom(
        "&a ",
        "*a",
        ": ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "? ",
        "!!set ",
        "|\n",
        "'",
        "broker",
        "%YAML 1.1\n",
        "---\n",
        "<<",
      ),
    );
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      pieces.map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(text, (yaml) => load({ file: temp.write("f.yaml", yaml), env: ENV })),
      RUNS,
    );
  });

  it("survives any tree of known and unknown keys with any values", () => {
    const temp = tempDirectory();
    fc.assert(
      fc.property(tree, (value) => load({ file: temp.write("f.yaml", stringify(value)), env: ENV })),
      RUNS,
    );
  });

  it("survives any environment and any arguments", () => {
    const variables = fc.constantFrom(...allKeys.flatMap((placed) => placed.variables));
    const json = fc.oneof(fc.string(), fc.json());
    // Not the file itself: a path made by chance may be one that exists.
    const env = fc.dictionary(
      fc.oneof(
        variables,
        fc.string().map((text) => `PIPIT_X${text}`),
      ),
      json,
    );
    const args = fc.record({
      set: fc.array(fc.tuple(fc.constantFrom(...allKeys.map(({ path }) => path)), json).map((pair) => pair.join("="))),
    });
    fc.assert(
      fc.property(env, args, (variablesSet, values) => load({ env: { ...ENV, ...variablesSet }, args: values })),
      RUNS,
    );
  });

  it.each([
    [
      "an alias bomb",
      `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefgh"
        .split("")
        .map((name, index) => `${name}: &${name} [${`*${"abcdefg"[index]},`.repeat(9)}]`)
        .join("\n")}\nlog: { redact: *h }\n`,
    ],
    ["a cycle", "classify: { labels: &a [*a] }\nlog: &b { redact: *b }\nrout: &c [*c]\n"],
    ["deep nesting", `log: ${"[".repeat(100_000)}`],
    ["deep nesting that is closed", `log: { redact: ${"[".repeat(3000)}${"]".repeat(3000)} }`],
    ["two documents", "log: {}\n---\nlog: {}\n"],
    ["keys that are maps", "? { a: b }\n: c\nlog: { ? [x] : y }\n"],
    ["a key twice", "log: {}\nlog: {}\n"],
    ["a list as root", "- a\n"],
    ["a word as root", "hello"],
    ["null bytes", 'broker: { ca_file: "a\\0b", url: "\\0" }\nmodel: { name: "\\0/", dir: "\\0" }\n'],
  ])("refuses %s with a message", (_, yaml) => {
    const file = tempDirectory().write("f.yaml", yaml);
    expect(() => loadConfig({ file, env: ENV })).toThrow(PipitError);
    load({ file, env: ENV });
  });

  it.each(["", "# nothing\n", "null", "---\n", "\ufeff"])("takes %j as an empty configuration", (yaml) => {
    expect(parseYaml(yaml, "f.yaml")).toEqual({ settings: [], problems: [] });
  });

  it("refuses a file that is far too large without reading it", () => {
    const file = tempDirectory().write("f.yaml", "#".repeat(1024 ** 2 + 1));
    expect(() => loadConfig({ file, env: ENV })).toThrow("has 1048577 bytes, a configuration has at most 1048576");
  });
});
