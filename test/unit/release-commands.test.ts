// The scripts of a release at the edges: help that was asked for, and words that they do not know. What they do to a board is in
// test/system.
import { spawnSync } from "node:child_process";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = resolve(import.meta.dirname, "../..");
const run = (script: string, ...args: string[]) => {
  const { status: code, stdout, stderr } = spawnSync("sh", [join(ROOT, script), ...args], { encoding: "utf8" });
  return { code, stdout, stderr };
};

describe("the scripts of a release", () => {
  it.each([
    ["scripts/build-release.sh", ["--help"], /usage: scripts\/build-release.sh --arch arm64/],
    ["scripts/release/install.sh", ["--help"], /install.sh \[--model FILE.gguf\|NAME\]/],
    ["scripts/release/uninstall.sh", ["--help"], /uninstall.sh \[--purge\]/],
    ["scripts/pipitctl", ["--help"], /^usage: pipitctl COMMAND/],
    ["scripts/pipitctl", ["help"], /^usage: pipitctl COMMAND/],
    ["scripts/pipitctl", ["update", "--help"], /^usage: pipitctl COMMAND/],
  ])("%s %j helps on standard output", (script, args, help) => {
    expect(run(script, ...args)).toMatchObject({ code: 0, stdout: expect.stringMatching(help), stderr: "" });
  });

  it.each([
    ["scripts/build-release.sh", [], "--arch is missing"],
    ["scripts/build-release.sh", ["--arch"], "--arch needs a value"],
    ["scripts/build-release.sh", ["--arch", "mips"], "--arch must be arm64, x64 or armv7, got mips"],
    ["scripts/build-release.sh", ["--bits", "64"], "unknown option --bits"],
    ["scripts/release/install.sh", ["--fast"], "unknown option --fast"],
    ["scripts/release/install.sh", ["--model"], "--model needs a value"],
    ["scripts/release/uninstall.sh", ["--all"], "unknown option --all"],
    ["scripts/pipitctl", ["updat"], "no such command: updat"],
    ["scripts/pipitctl", ["update"], "usage: pipitctl COMMAND"],
    ["scripts/pipitctl", ["status", "--jsn"], "usage: pipitctl COMMAND"],
    ["scripts/pipitctl", ["config", "test", "folder"], "usage: pipitctl COMMAND"],
  ])("%s %j says what is wrong, and exits with 64", (script, args, message) => {
    const { code, stdout, stderr } = run(script, ...args);
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(message);
  });

  it.each([
    ["scripts/build-release.sh", ["--arch", "x64", "--key", "/no/key"], "cannot read the key /no/key"],
    ["scripts/release/install.sh", ["--model", "/no.gguf"], "--model: no such file: /no.gguf"],
    ["scripts/release/install.sh", ["--signers", "/no/signers"], "--signers: no such file, or empty: /no/signers"],
  ])("%s %j names the file that is not there", (script, args, message) => {
    expect(run(script, ...args)).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
  });
});
