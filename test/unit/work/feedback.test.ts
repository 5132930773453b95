import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { defineClassifier, labelledTexts } from "../../../src/core/classifier.ts";
import { FileHeadStore } from "../../../src/models/head-store.ts";
import { Classifiers } from "../../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../../src/work/decoder-classifier.ts";
import { Feedback } from "../../../src/work/feedback.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { encoderFile, FakeEncoder } from "../../fakes/encoder.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const home = defineClassifier({
  name: "home",
  labels: [{ name: "lights" }, { name: "media" }],
  examples: labelledTexts([
    { text: "turn the lamp on", label: "lights" },
    { text: "switch the lamp off", label: "lights" },
    { text: "play some music", label: "media" },
    { text: "pause the music", label: "media" },
  ]),
});

const signal = new AbortController().signal;
const bytes = (value: unknown) => ({
  payload: new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value)),
});

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pipit-feedback-"));
});
afterEach(() => rm(directory, { recursive: true }));

function scene(mostPerHour = 20) {
  const engine = new FakeEncoder();
  const log = new FakeLogger();
  const clock = new FakeClock();
  const store = new FileHeadStore(directory, log);
  const rooms = {
    engine,
    clock,
    log,
    store,
    encoder: () => encoderFile("minilm"),
    decoder: new DecoderClassifier(engine),
    decoderModel: () => undefined,
  };
  const classifiers = new Classifiers([home], rooms);
  const feedback = new Feedback(classifiers, { mostPerHour }, clock, log);
  const ask = (text: string) => classifiers.classify({ classifier: "home", text }, signal);
  return { classifiers, feedback, clock, ask, store, log };
}

describe("Feedback", () => {
  it("turns a correction into an example that the next answer obeys", async () => {
    const { feedback, ask } = scene();
    const { label, version } = await ask("tune the gramophone");
    const right = label === "lights" ? "media" : "lights";
    feedback.remember("q-1", { classifier: "home", text: "tune the gramophone", predicted: label });
    const learnt = await feedback.handle(bytes({ id: "q-1", label: right }), signal);
    expect(learnt).toMatchObject({ classifier: "home", label: right, predicted: label, version: version + 1 });
    expect(await ask("tune the gramophone")).toMatchObject({ label: right, by: "head", version: version + 1 });
  });

  it("takes a text that was never asked about", async () => {
    const { feedback, ask } = scene();
    await feedback.handle(bytes({ text: "start the gramophone", label: "media" }), signal);
    expect(await ask("start a gramophone")).toMatchObject({ label: "media" });
  });

  it("replaces an example when people change their mind", async () => {
    const { feedback, classifiers } = scene();
    await feedback.handle(bytes({ text: "gramophone", label: "lights" }), signal);
    await feedback.handle(bytes({ text: "gramophone", label: "media" }), signal);
    expect(classifiers.named("home").examples).toBe(5);
  });

  it("counts how often the answer was right", async () => {
    const { feedback } = scene();
    await feedback.handle(bytes({ text: "turn that lamp on", label: "lights" }), signal);
    const { rolling } = await feedback.handle(bytes({ text: "turn every lamp on", label: "media" }), signal);
    expect(rolling).toEqual({ classifier: "home", judged: 2, accuracy: 0.5 });
    expect(feedback.rolling()).toEqual([rolling]);
  });

  it("refuses more examples than its rate, and takes them again an hour later", async () => {
    const { feedback, clock, classifiers } = scene(2);
    for (const text of ["one", "two"]) await feedback.handle(bytes({ text, label: "media" }), signal);
    const flood = feedback.handle(bytes({ text: "three", label: "media" }), signal);
    await expect(flood).rejects.toMatchObject({ code: "rate_limited", retryAfterMs: 3_600_000 });
    expect(classifiers.named("home").examples).toBe(6);
    clock.advance(3_600_000);
    await feedback.handle(bytes({ text: "three", label: "media" }), signal);
    expect(classifiers.named("home").examples).toBe(7);
  });

  it.each([
    ["no JSON", "lamp"],
    ["no object", "[1]"],
    ["an unknown id", { id: "q-9", label: "media" }],
    ["neither id nor text", { label: "media" }],
    ["an unknown label", { text: "hi", label: "garden" }],
    ["two labels for a classifier of one", { text: "hi", label: ["lights", "media"] }],
    ["a label that is no text", { text: "hi", label: 7 }],
    ["an unknown classifier", { text: "hi", label: "media", classifier: "office" }],
  ])("refuses %s", async (_, payload) => {
    const { feedback } = scene();
    await expect(feedback.handle(bytes(payload), signal)).rejects.toMatchObject({ code: "bad_request" });
  });

  it.each([
    ["nothing at all", "", /the payload is empty/],
    ["a text of another type", { text: 5, label: "lights" }, /text must be a string, got 5/],
    ["a label of another type", { text: "a", label: 5 }, /label must be .*, got 5/],
    ["an endless unknown label", { text: "a", label: "x".repeat(2000) }, /^label is "x{40}", home takes one of /],
    [
      "an endless unknown classifier",
      { text: "a", label: "b", classifier: "x".repeat(2000) },
      /^no classifier "x{40}"; /,
    ],
  ])("names the field and what it got: %s", async (_, payload, message) => {
    const { feedback } = scene();
    await expect(feedback.handle(bytes(payload), signal)).rejects.toMatchObject({
      message: expect.stringMatching(message),
    });
  });
});

describe("versions", () => {
  it("go back to what was known before, on disk too", async () => {
    const { feedback, classifiers, ask } = scene();
    const before = await ask("gramophone lamp");
    await feedback.handle(bytes({ text: "gramophone lamp", label: "media" }), signal);
    expect(await ask("gramophone lamp")).toMatchObject({ label: "media", version: 2 });
    await classifiers.named("home").rollback();
    expect(await ask("gramophone lamp")).toMatchObject({ label: before.label, version: 1 });
    expect(await scene().ask("gramophone lamp")).toMatchObject({ label: before.label, version: 1 });
    const list = await classifiers.versions("home");
    expect(list.map(({ version, current, learned }) => ({ version, current, learned }))).toEqual([
      { version: 2, current: false, learned: 1 },
      { version: 1, current: true, learned: 0 },
    ]);
  });

  it("cannot go back before the first", async () => {
    const { classifiers, ask } = scene();
    await ask("hi");
    await expect(classifiers.named("home").rollback()).rejects.toMatchObject({ code: "bad_request" });
    await expect(classifiers.named("home").rollback(7)).rejects.toThrow(/no version 7; it has 1/);
  });

  it("fall back to the newest good one when a file was damaged, and say so", async () => {
    const first = scene();
    await first.ask("hi");
    await first.feedback.handle(bytes({ text: "gramophone", label: "media" }), signal);
    const newest = (await readdir(join(directory, "home")))
      .filter((name) => name.startsWith("v"))
      .sort()
      .at(-1)!;
    await writeFile(join(directory, "home", newest), '{"format":"pipit-head-1","sha256":"00"}\n{}\n');
    const second = scene();
    expect(await second.ask("hi")).toMatchObject({ version: 1 });
    expect(second.log.lines).toContainEqual(
      expect.objectContaining({ level: "warn", message: expect.stringContaining("passed over") }),
    );
  });

  it("beyond the last ten are removed", async () => {
    const { classifiers } = scene();
    for (let count = 0; count < 13; count++) await classifiers.named("home").retrain(signal);
    expect((await classifiers.versions("home")).map(({ version }) => version)).toEqual([
      13, 12, 11, 10, 9, 8, 7, 6, 5, 4,
    ]);
  });
});
