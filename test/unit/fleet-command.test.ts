// scripts/fleet.sh at the edges: what an operator gets who types something else than was meant. No board and no Ansible is
// needed for it; what happens on boards is in test/system.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const COMMANDS = ["deploy", "status", "rollback", "exec", "config", "models", "collect"];

describe("fleet.sh", () => {
  const folder = mkdtempSync(join(tmpdir(), "pipit-fleet-command-"));
  const path = (name: string) => join(folder, name);

  beforeAll(() => {
    writeFileSync(path("inventory.yml"), "pipit: {}\n");
    writeFileSync(path("text"), "hello\n");
    writeFileSync(path("model.gguf"), "GGUF");
    writeFileSync(path("empty"), "\n");
    writeFileSync(path("nothing"), "");
    writeFileSync(path("exam.jsonl"), '{"task":"answer","text":"a","expect":"b"}\n\n{"task":"sing"}\n');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function run(...args: string[]): { code: number | null; stdout: string; stderr: string } {
    const { status, stdout, stderr } = spawnSync(join(ROOT, "scripts/fleet.sh"), args, { encoding: "utf8" });
    return { code: status, stdout, stderr };
  }

  it("lists every command in its help, and each command has help of its own", () => {
    const { code, stdout } = run("--help");
    expect(code).toBe(0);
    for (const command of COMMANDS) {
      expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
      const own = run(command, "--help");
      expect(own.code).toBe(0);
      expect(own.stdout).toMatch(new RegExp(`^usage: scripts/fleet.sh \\[OPTIONS\\] ${command}`));
    }
  });

  it.each([
    [[], "usage:"],
    [["update"], "unknown command update"],
    [["--fast", "status"], "unknown option --fast"],
    [["status", "pi-1"], "status takes no argument, got pi-1"],
    [["status", "-l"], "-l needs a value"],
    [["-e", "soak_seconds", "status"], "-e takes KEY=VALUE or a JSON object, got soak_seconds"],
    [["-e", '{"soak_seconds": 1', "status"], '-e takes KEY=VALUE or a JSON object, got {"soak_seconds": 1'],
    [["--mqtt", "broker", "status"], "--mqtt takes an mqtt:, mqtts:, ws: or wss: URL, got broker"],
    [["--min-score", "7", "models", "x"], "--min-score takes a share of right answers from 0 to 1, got 7"],
    [["--min-speed", "fast", "models", "x"], "--min-speed takes tokens a second from 0, got fast"],
    [["deploy"], "deploy takes one BUNDLE.tar.xz, got nothing"],
    [["exec"], "exec takes a command for the boards, got nothing"],
    [["--min-score", "1", "status"], "--min-score belongs to models"],
    [["--mqtt", "mqtt://127.0.0.1", "deploy", "x"], "--mqtt belongs to status"],
    [["--vault-password-file", "/no/such", "config"], "--vault-password-file: cannot read /no/such"],
  ])("says what is wrong with %j, and exits with 64", (args, message) => {
    const { code, stdout, stderr } = run("-i", path("inventory.yml"), ...args);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(message);
  });

  it("names an inventory that is not there", () => {
    expect(run("-i", "/no/inventory.yml", "status")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("no inventory /no/inventory.yml: copy deploy/inventory.example.yml"),
    });
  });

  it.each([
    [["deploy", "/no/bundle"], "no such bundle: /no/bundle"],
    [["deploy", path("text")], "is no release: it holds no release.env with a VERSION"],
    [["models", path("text")], "is no GGUF file"],
    [["models", path("model.gguf"), "/no/exam"], "no such exam: /no/exam"],
    [["models", path("model.gguf"), path("empty")], "empty: it asks nothing"],
    [["models", path("model.gguf"), path("text")], "text: line 1 is no JSON object: hello"],
    [
      ["models", path("model.gguf"), path("exam.jsonl")],
      "exam.jsonl: line 3: task must be answer or classify, got 'sing'",
    ],
    [["--vault-password-file", path("nothing"), "config"], "nothing is empty"],
    [["models", path("text"), "a", "b"], "models takes FILE.gguf and at most one EXAM.jsonl"],
  ])("refuses %j before it speaks to a board", (args, message) => {
    const { code, stderr } = run("-i", path("inventory.yml"), ...args);
    expect(code).not.toBe(0);
    expect(stderr).toContain(message);
  });
});
