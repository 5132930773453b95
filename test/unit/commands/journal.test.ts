import { appendFile, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { command } from "../../../src/commands/journal.ts";
import { FileJournal } from "../../../src/journal/file-journal.ts";
import { encodeHeader, segmentName } from "../../../src/journal/segment.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";

describe("pipit journal", () => {
  let directory: string;
  let journal: FileJournal;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pipit-journal-"));
    const [clock, logger] = [new FakeClock(), new FakeLogger()];
    journal = new FileJournal({ directory, durability: "full", maxBytes: 1024 * 1024, clock, logger });
    await journal.start();
    await journal.accept(question("open"));
    journal.begin("open");
    for (const key of ["sent", "done", "poison"]) {
      await journal.accept(question(key));
      await journal.answer(key, reply(key));
    }
    journal.settle("done");
    journal.bury("poison");
    journal.settle("poison");
    await journal.accept(question("last"));
  });

  afterEach(async () => {
    await journal.stop();
    await rm(directory, { recursive: true });
  });

  async function run(...args: string[]) {
    const json = { json: { type: "boolean" } } as const;
    const options = { ...command.options, ...json };
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
    const printed = { code: 0, stdout: "", stderr: "" };
    printed.code = await command.run({
      values,
      positionals,
      stdout: (text) => (printed.stdout += text),
      stderr: (text) => (printed.stderr += text),
      json: values.json === true,
      signal: new AbortController().signal,
      env: { HOME: "/home/somebody" },
      isTty: false,
    });
    return printed;
  }

  test("inspect shows, beside a running daemon, what is open and what is not settled, and no text", async () => {
    const before = await readFile(join(directory, segmentName(1)));
    const { code, stdout } = await run("inspect", "--dir", directory);
    expect(code).toBe(0);
    expect(stdout).toContain("2 open, 1 answered and not settled, 2 settled, 1 dead\n");
    expect(stdout).toContain("\nopen\n  accepted, begun 1x, 24 bytes pipit/board/ask\n");
    expect(stdout).toContain("  accepted 2027-01-15T08:00:00.000Z, deadline 2027-01-15T08:01:00.000Z\n");
    expect(stdout).toContain("\nsent\n  answered, 27 bytes pipit/board/answer\n");
    expect(stdout).not.toContain("done");
    expect(stdout).not.toContain("What is");
    expect(await readFile(join(directory, segmentName(1)))).toEqual(before);
    expect(await readdir(directory)).toEqual(["journal-00000001.log", "journal.pid"]);
  });

  test("inspect shows settled questions and texts on request, and all of it as JSON", async () => {
    const { stdout } = await run("inspect", "--dir", directory, "--all", "--payloads", "--json");
    const shown = JSON.parse(stdout) as { questions: object[]; counts: object };
    expect(shown.counts).toEqual({ open: 2, unsettled: 1, settled: 2, dead: 1 });
    expect(shown.questions).toMatchObject([
      { key: "open", state: "accepted", starts: 1, payload: '{"text":"What is open?"}' },
      { key: "sent", state: "answered" },
      { key: "done", state: "settled" },
      { key: "poison", state: "dead" },
      { key: "last", state: "accepted", starts: 0 },
    ]);
  });

  test("verify says ok, or where the damage is, by its exit code too", async () => {
    expect(await run("verify", "--dir", directory)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("ok: 12 records in 1 segments\n") as string,
    });
    const path = join(directory, segmentName(1));
    const bytes = await readFile(path);
    bytes[300] = (bytes[300] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const { code, stdout } = await run("verify", "--dir", directory);
    expect(code).toBe(1);
    expect(stdout).toMatch(/damage: 1 records missing at byte \d+, where \d+ bytes do not check\n/);
    expect(stdout).toContain("1 of 1 segments are damaged\n");
    expect(JSON.parse((await run("verify", "--dir", directory, "--json")).stdout)).toMatchObject({ ok: false });
  });

  test("verify takes a torn write at the end for what it is, a later version for damage", async () => {
    await appendFile(join(directory, segmentName(1)), "torn");
    expect(await run("verify", "--dir", directory)).toMatchObject({ code: 0 });
    const header = encodeHeader({ version: 9, number: 2, firstSequence: 99, salt: 1 });
    await writeFile(join(directory, segmentName(2)), header);
    const { code, stdout } = await run("verify", "--dir", directory);
    expect(code).toBe(1);
    expect(stdout).toContain("written by a later version of pipit (format 9)\n");
  });

  test("says what it takes, and what it cannot read", async () => {
    expect(await run("mend")).toMatchObject({
      code: 64,
      stderr: 'pipit journal takes inspect or verify, not "mend"\n',
    });
    await expect(run("verify", "--dir", join(directory, "none"))).rejects.toThrow("cannot read the journal in");
    await expect(run("verify", "--set", `journal.dir=${join(directory, "none")}`)).rejects.toThrow("none");
  });
});
