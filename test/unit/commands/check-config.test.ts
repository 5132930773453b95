import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { describe, expect, it } from "vitest";
import { command } from "../../../src/commands/check-config.ts";
import { tempDirectory } from "../config/temp.ts";

/** Runs the command as main.ts does and gathers what it prints. */
async function run(args: string[], env: NodeJS.ProcessEnv = {}) {
  const json = { json: { type: "boolean" } } as const;
  const { values, positionals } = parseArgs({ args, options: { ...command.options, ...json }, allowPositionals: true });
  const printed = { code: 0, stdout: "", stderr: "" };
  printed.code = await command.run({
    values,
    positionals,
    stdout: (text) => (printed.stdout += text),
    stderr: (text) => (printed.stderr += text),
    json: values.json === true,
    signal: new AbortController().signal,
    onHangup: () => {},
    env: { HOME: "/home/somebody", ...env },
    isTty: false,
  });
  return printed;
}

describe("pipit check-config", () => {
  it("prints ok and the effective configuration with the place of each value that is set", async () => {
    const temp = tempDirectory();
    const password = temp.write("password", "hunter2");
    const file = temp.write("pipit.yaml", `broker:\n  username: pi\n  password_file: ${password}\n`);
    const { code, stdout, stderr } = await run([file, "--set", "queue.max_questions=3"], { PIPIT_DEVICE_ID: "pi" });
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(new RegExp(`^ok: ${file}\n`));
    expect(stdout).toContain(`  username: pi # ${file}:2\n  password_file: ${password} # ${file}:3\n`);
    expect(stdout).toContain("  id: pi # PIPIT_DEVICE_ID\n");
    expect(stdout).toContain("  max_questions: 3 # --set queue.max_questions\n");
    expect(stdout).toContain("  keepalive_s: 30\n");
    expect(stdout).not.toContain("hunter2");
  });

  it("prints all problems and exits 78", async () => {
    const file = tempDirectory().write("pipit.yaml", "log: { level: loud }\nbroker: { ulr: x }\n");
    const { code, stdout, stderr } = await run([file]);
    expect([code, stdout]).toEqual([78, ""]);
    expect(stderr.split("\n")).toHaveLength(4);
    expect(stderr).toContain("broker.ulr: is not a known key; did you mean broker.url?");
  });

  it("reads the classifiers that the agent would read, and prints what is wrong with them", async () => {
    const temp = tempDirectory();
    const state = dirname(temp.write("here", ""));
    mkdirSync(join(state, "classifiers"));
    writeFileSync(join(state, "classifiers", "one.yaml"), "labels: [x, x]\n");
    writeFileSync(join(state, "classifiers", "two.yaml"), "labels: [x\n\u0000\u001b[2J\n");
    const { code, stdout, stderr } = await run(["--set", `state.dir=${state}`]);
    expect([code, stdout]).toEqual([78, ""]);
    expect(stderr).toMatch(/one\.yaml: classifier one: has the label "x" twice/);
    expect(stderr).toMatch(/two\.yaml: cannot be read as YAML: .* at line/);
    expect(stderr).not.toContain("\u001b");
  });

  it("prints one JSON document with --json", async () => {
    const good = JSON.parse((await run(["--json", "--embedded"])).stdout) as Record<string, unknown>;
    expect(good).toMatchObject({
      ok: true,
      file: null,
      problems: [],
      config: { broker: { embedded: true } },
      sources: { "broker.embedded": "--embedded" },
    });
    const bad = await run(["--json"], { PIPIT_LOG_LEVEL: "loud" });
    expect(bad.code).toBe(78);
    expect(JSON.parse(bad.stdout)).toEqual({
      ok: false,
      file: null,
      problems: [
        { key: "log.level", message: 'must be one of debug, info, warn, error, is "loud"', source: "PIPIT_LOG_LEVEL" },
      ],
      warnings: [],
    });
  });

  it("prints warnings beside the result", async () => {
    const { code, stderr } = await run([], { PIPIT_BROKER_INSECURE: "true" });
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning: broker.insecure: is on/);
  });

  it("takes one file at most", async () => {
    expect((await run(["a", "b"])).code).toBe(64);
  });

  it("names every option in its help", () => {
    expect(Object.keys(command.options).filter((name) => !command.help.includes(`--${name}`))).toEqual([]);
  });
});
