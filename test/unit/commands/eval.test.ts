import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { classifierCommand } from "../../../src/commands/classifier.ts";
import type { Command, CommandContext } from "../../../src/commands/command.ts";
import { evalCommand } from "../../../src/commands/eval.ts";
import type { OpenClassifiers } from "../../../src/commands/local-classifiers.ts";
import { defineClassifier, labelledTexts } from "../../../src/core/classifier.ts";
import { FileHeadStore } from "../../../src/models/head-store.ts";
import { Classifiers } from "../../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../../src/work/decoder-classifier.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { encoderFile, FakeEncoder } from "../../fakes/encoder.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const home = defineClassifier({
  name: "home",
  labels: [{ name: "lights" }, { name: "media" }],
  examples: labelledTexts([
    { text: "lamp on", label: "lights" },
    { text: "lamp off", label: "lights" },
    { text: "play music", label: "media" },
    { text: "stop music", label: "media" },
  ]),
});
const rows = [
  ...home.examples.map(({ text, labels: [label] }) => ({ text, label, split: "examples" })),
  { text: "the lamp please", label: "lights" },
  { text: "more music <b>", label: "media" },
  { text: "music for the lamp shop music", label: "lights" },
  { text: "quarterly tax report", label: null },
];

let directory: string;
let file: string;
let closed: number;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pipit-eval-"));
  file = join(directory, "rows.jsonl");
  closed = 0;
  await writeFile(file, rows.map((row) => JSON.stringify(row)).join("\n"));
});
afterEach(() => rm(directory, { recursive: true }));

const open: OpenClassifiers = (_, path) => {
  const engine = new FakeEncoder();
  const log = new FakeLogger();
  const store = new FileHeadStore(directory, log);
  const classifiers = new Classifiers([home], {
    engine,
    store,
    log,
    clock: new FakeClock(),
    encoder: () => (path === "head" ? encoderFile("minilm") : undefined),
    decoder: new DecoderClassifier(engine),
    decoderModel: () => (path === "decoder" ? encoderFile("smol") : undefined),
  });
  const close = () => Promise.resolve(void closed++);
  return Promise.resolve({ classifiers, definitions: [home], store, models: ["minilm"], close });
};

async function run(command: Command, positionals: string[], values: CommandContext["values"] = {}) {
  const said = { stdout: "", stderr: "", code: 0 };
  said.code = await command.run({
    values,
    positionals,
    stdout: (text) => void (said.stdout += text),
    stderr: (text) => void (said.stderr += text),
    json: values["json"] === true,
    signal: new AbortController().signal,
    onHangup: () => {},
    env: {},
    isTty: false,
  });
  return said;
}

describe("pipit eval", () => {
  const command = evalCommand(open);

  it("learns from the rows that teach and measures the others", async () => {
    const { stdout, code } = await run(command, [file], { json: true });
    const figures = JSON.parse(stdout) as Record<string, unknown>;
    expect(code).toBe(0);
    expect(figures).toMatchObject({ cases: 3, accuracy: 2 / 3, path: "head" });
    expect(figures["outOfScopeAuroc"]).toBe(1);
    expect(figures["paths"]).toMatchObject([{ by: "examples", cases: 3 }]);
    expect(closed).toBe(1);
  });

  it("measures a configured classifier and prints figures for people", async () => {
    const { stdout } = await run(command, [file], { classifier: "home" });
    expect(stdout).toMatch(/accuracy {6}0\.857/);
    expect(stdout).toMatch(/head {11}7 +0\.857/);
    // The confusion matrix, and what abstaining buys.
    expect(stdout).toMatch(/right +lights +media\nlights +\d+ +[\d.]+\nmedia +[\d.]+ +\d+\n/);
    expect(stdout).toMatch(/threshold {2}answered {2}of them right\n +0\.0 +100\.0 % +0\.857\n/);
  });

  it("writes a page that needs nothing else and runs nothing", async () => {
    const html = join(directory, "report.html");
    await run(command, [file], { html });
    const page = await readFile(html, "utf8");
    expect(page.match(/<svg/g)).toHaveLength(3);
    expect(page).not.toMatch(/<script|src=|href=|<b>/);
    expect(page).toContain("music for the lamp shop music");
  });

  it("measures texts of several labels, each label for itself", async () => {
    const several = [
      { text: "lamp on", labels: ["lights"], split: "examples" },
      { text: "play music", labels: ["media"], split: "examples" },
      { text: "lamp on and play music", labels: ["lights", "media"], split: "examples" },
      { text: "quarterly tax report", labels: [], split: "examples" },
      { text: "lamp on please", labels: ["lights"] },
      { text: "music <b>", labels: ["media"] },
    ];
    await writeFile(file, several.map((row) => JSON.stringify(row)).join("\n"));
    const html = join(directory, "report.html");
    const { stdout, code } = await run(command, [file], { json: true, html });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      cases: 2,
      classifier: "eval, 4 examples",
      labels: [{ label: "lights" }, { label: "media" }],
    });
    const page = await readFile(html, "utf8");
    expect(page.match(/<svg/g)).toHaveLength(1);
    expect(page).not.toMatch(/<script|src=|href=|<b>/);
    expect((await run(command, [file])).stdout).toMatch(/exact match {3}[\d.]+\nmicro-F1/);
  });

  it("says which line is of the other kind, and which kind a classifier has", async () => {
    await writeFile(file, '{"text": "a", "label": "x"}\n\n{"text": "b", "labels": ["x"]}\n');
    await expect(run(command, [file])).rejects.toThrow(
      /rows\.jsonl:3 has labels, the rows before have label: measure them apart/,
    );
    await writeFile(file, '{"text": "lamp", "labels": ["lights"]}\n');
    await expect(run(command, [file], { classifier: "home" })).rejects.toThrow(
      'classifier home gives one label: rows need "label"',
    );
  });

  it("takes the decoder's path when told to", async () => {
    const { stdout } = await run(command, [file], { json: true, path: "decoder", "per-label": "1" });
    expect(JSON.parse(stdout)).toMatchObject({ paths: [{ by: "decoder", cases: 3 }] });
  });

  it.each([
    [[], {}, /which file/],
    [["rows"], { path: "both" }, /--path must be one of head, decoder, cascade/],
  ])("says how it is used: %j %j", async (positionals, values, message) => {
    const { code, stderr } = await run(command, positionals, values);
    expect(code).toBe(64);
    expect(stderr).toMatch(message);
  });

  it("names the line that is no row", async () => {
    await writeFile(file, '{"text":"hi","label":"x"}\n{"text":7}\n');
    await expect(run(command, [file])).rejects.toThrow(/rows\.jsonl:2 must be/);
  });
});

describe("pipit classifier", () => {
  const command = classifierCommand(open);

  it("trains, lists versions, rolls back and lists", async () => {
    expect((await run(command, ["list"])).stdout).toMatch(/home .* 4 \+ 0 examples .*not trained/);
    await run(command, ["train"]);
    expect((await run(command, ["train", "home"])).stdout).toMatch(/^home: v2, 4 examples, accuracy 1\.000/);
    expect((await run(command, ["rollback", "home"])).stdout).toBe("home: back to v1\n");
    expect((await run(command, ["versions", "home"])).stdout.split("\n")[1]).toMatch(/^\* v1 /);
    const { stdout } = await run(command, [], { json: true });
    expect(JSON.parse(stdout)).toMatchObject([{ name: "home", version: 1, accuracy: 1 }]);
  });

  it("measures one by name", async () => {
    const { stdout } = await run(command, ["eval", "home", file], { json: true });
    expect(JSON.parse(stdout)).toMatchObject({ classifier: "home, 4 examples", cases: 7 });
  });

  it.each([
    [["rollback"], /which classifier/],
    [["forget", "home"], /no such action forget/],
  ])("says how it is used: %j", async (positionals, message) => {
    const { code, stderr } = await run(command, positionals);
    expect(code).toBe(64);
    expect(stderr).toMatch(message);
  });
});
