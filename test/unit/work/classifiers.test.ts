import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type ClassifierDefinition, defineClassifier, labelledTexts } from "../../../src/core/classifier.ts";
import { RequestError } from "../../../src/core/errors.ts";
import type { ModelFile } from "../../../src/core/model-file.ts";
import { FileHeadStore } from "../../../src/models/head-store.ts";
import { Classifiers } from "../../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../../src/work/decoder-classifier.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { encoderFile, FakeEncoder } from "../../fakes/encoder.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const examples = labelledTexts([
  { text: "turn the lamp on", label: "lights" },
  { text: "switch the lamp off", label: "lights" },
  { text: "make the lamp brighter", label: "lights" },
  { text: "play some jazz music", label: "media" },
  { text: "pause the music now", label: "media" },
  { text: "louder music please", label: "media" },
]);
const labels = [{ name: "lights" }, { name: "media" }];
const home = (more: Partial<ClassifierDefinition> = {}) =>
  defineClassifier({ name: "home", labels, examples, ...more });

const signal = new AbortController().signal;
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "pipit-heads-"));
  cleanups.push(() => rm(path, { recursive: true }));
  return path;
}

function scene(definitions: ClassifierDefinition[], options: { directory?: string; decoder?: boolean } = {}) {
  const engine = new FakeEncoder();
  const log = new FakeLogger();
  const models = {
    encoder: encoderFile("minilm") as ModelFile | undefined,
    named: new Map<string, ModelFile>(),
    decoder: options.decoder ?? false,
  };
  const classifiers = new Classifiers(definitions, {
    engine,
    clock: new FakeClock(),
    log,
    encoder: (name) => (name === undefined ? models.encoder : models.named.get(name)),
    decoder: new DecoderClassifier(engine),
    decoderModel: () => (models.decoder ? encoderFile("smol") : undefined),
    ...(options.directory !== undefined && { store: new FileHeadStore(options.directory, log) }),
  });
  const ask = (text: string, explain = false) => classifiers.classify({ classifier: "home", text, explain }, signal);
  return { engine, log, models, classifiers, ask };
}

describe("Classifiers", () => {
  it("answers by the head, with probabilities that sum to one", async () => {
    const { ask } = scene([home()]);
    const verdict = await ask("dim the lamp");
    expect(verdict).toMatchObject({ label: "lights", by: "head", classifier: "home", version: 1 });
    expect(Object.values(verdict.probabilities).reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 9);
    expect(verdict.usage.promptTokens).toBe(5);
  });

  it("says which example was nearest, to those who ask", async () => {
    const { ask } = scene([home()]);
    expect((await ask("turn that lamp on", true)).nearest).toMatchObject({ text: "turn the lamp on", label: "lights" });
    expect((await ask("turn that lamp on")).nearest).toBeUndefined();
  });

  it("answers an exact repeat from the cache, without the encoder", async () => {
    const { engine, ask } = scene([home()]);
    const first = await ask("dim the lamp");
    const embedded = engine.embedded.length;
    expect(await ask("dim the lamp")).toMatchObject({ label: first.label, confidence: first.confidence, by: "cache" });
    expect(engine.embedded.length).toBe(embedded);
  });

  it("computes equal texts once when they arrive together", async () => {
    const { engine, ask } = scene([home()]);
    await ask("warm up");
    const [first, second] = await Promise.all([ask("dim the lamp"), ask("dim the lamp")]);
    expect(first).toEqual(second);
    expect(engine.embedded.filter((text) => text === "dim the lamp")).toHaveLength(1);
  });

  it("asks the decoder too when the head is not sure, and only then", async () => {
    const { engine, ask } = scene([home({ decoderMargin: 0.5 })], { decoder: true });
    engine.scoreOf = (candidate, { turns }) =>
      candidate === " media" && (turns as string).endsWith("radio\nLabel:") ? -0.1 : -4;
    expect(await ask("turn the lamp on")).toMatchObject({ by: "head", label: "lights" });
    expect(engine.scored).toHaveLength(0);
    const unsure = await ask("radio");
    expect(unsure).toMatchObject({ by: "decoder", label: "media" });
    expect(unsure.usage).toMatchObject({ cachedTokens: 30 });
  });

  it("keeps to the head's answer when the decoder fails", async () => {
    const { engine, log, ask } = scene([home({ decoderMargin: 1 })], { decoder: true });
    engine.scoreOf = () => {
      throw new Error("the prompt does not fit");
    };
    expect(await ask("turn the lamp on")).toMatchObject({ by: "head", label: "lights" });
    expect(log.lines).toContainEqual(expect.objectContaining({ level: "warn" }));
  });

  it("makes no warning of a text that is too long for the decoder only: anybody may send such", async () => {
    const { engine, log, ask } = scene([home({ decoderMargin: 1 })], { decoder: true });
    engine.scoreOf = () => {
      throw new RequestError("too_long", "the prompt has 6000 tokens");
    };
    expect(await ask("turn the lamp on")).toMatchObject({ by: "head", label: "lights" });
    expect(log.lines.filter(({ message }) => message.includes("second opinion"))).toMatchObject([{ level: "debug" }]);
  });

  it("without an encoder lets the decoder read the examples, and say which is nearest", async () => {
    const { engine, models, ask } = scene([home()], { decoder: true });
    models.encoder = undefined;
    const verdict = await ask("dim the lamp", true);
    expect(verdict).toMatchObject({ by: "decoder", label: "lights", version: 0, nearest: { label: "lights" } });
    expect(engine.scored).toHaveLength(0);
    expect(engine.read.at(-1)).toContain("dim the lamp");
  });

  it("without an encoder goes by label scores while a label has no example", async () => {
    const { engine, models, ask } = scene([home({ labels: [...labels, { name: "vacuum" }] })], { decoder: true });
    models.encoder = undefined;
    engine.scoreOf = (candidate, { turns }) =>
      candidate === " vacuum" && (turns as string).endsWith("clean\nLabel:") ? -0.1 : -4;
    expect(await ask("clean")).toMatchObject({ by: "decoder", label: "vacuum" });
    expect(engine.read).toHaveLength(0);
  });

  it("without an encoder abstains about a text unlike every example it has read", async () => {
    const { models, ask } = scene([home({ scope: 0.99, abstainLabel: "unknown" })], { decoder: true });
    models.encoder = undefined;
    expect(await ask("quantum chromodynamics lecture")).toMatchObject({ label: "unknown", by: "decoder" });
  });

  it("without an encoder gives every label that holds, of examples it has read", async () => {
    const both = { text: "lamp and music on", labels: ["lights", "media"] };
    const { models, ask } = scene([home({ kind: "multi", examples: [...examples, both] })], { decoder: true });
    models.encoder = undefined;
    expect((await ask("switch the lamp on")).labels).toEqual(["lights"]);
  });

  it("asks the decoder while the classifier's own encoder is not loaded, though another is", async () => {
    const { ask, models } = scene([home({ model: "bge", decoderMargin: 0 })], { decoder: true });
    expect(await ask("turn the lamp on")).toMatchObject({ by: "decoder", version: 0 });
    models.named.set("bge", encoderFile("bge"));
    expect(await ask("turn that lamp on")).toMatchObject({ by: "head", version: 1 });
  });

  it("leaves the decoder alone while none is loaded, and uses only it without an encoder", async () => {
    const { engine, models, ask } = scene([home({ decoderMargin: 1 })]);
    expect(await ask("radio")).toMatchObject({ by: "head" });
    expect(engine.scored).toHaveLength(0);
    models.encoder = undefined;
    await expect(ask("radio again")).rejects.toMatchObject({ code: "model_unavailable" });
    models.decoder = true;
    expect(await ask("radio again")).toMatchObject({ by: "decoder", version: 0 });
  });

  it("abstains about a text unlike every example, with the abstain label", async () => {
    const { ask } = scene([home({ scope: 0.3, abstainLabel: "unknown" })]);
    expect(await ask("quantum chromodynamics lecture")).toMatchObject({ label: "unknown", by: "head" });
    expect(await ask("switch the lamp on")).toMatchObject({ label: "lights" });
  });

  it("abstains below the threshold with null", async () => {
    const { ask } = scene([home({ threshold: 0.9999 })]);
    expect((await ask("something lamp music")).label).toBeNull();
  });

  it("gives every label that holds to a text of several", async () => {
    const both = [
      { text: "lamp and music on", labels: ["lights", "media"] },
      { text: "music and lamp off", labels: ["lights", "media"] },
      { text: "good morning", labels: [] },
      { text: "what a day", labels: [] },
    ];
    const { ask } = scene([home({ kind: "multi", threshold: 0.5, examples: [...examples, ...both] })]);
    expect((await ask("please music and lamp")).labels).toEqual(["lights", "media"]);
    expect((await ask("switch the lamp on")).labels).toEqual(["lights"]);
    expect((await ask("good day")).labels).toEqual([]);
  });

  it("answers yes or no to a question about the text", async () => {
    const definition = defineClassifier({
      name: "home",
      kind: "yes_no",
      question: "the sender complains",
      examples: labelledTexts([
        { text: "this is broken and bad", label: "yes" },
        { text: "bad service", label: "yes" },
        { text: "lovely day thanks", label: "no" },
        { text: "thanks for the lovely service", label: "no" },
      ]),
    });
    const { ask } = scene([definition]);
    expect(await ask("it is broken")).toMatchObject({ label: "yes" });
    expect(await ask("lovely thanks")).toMatchObject({ label: "no" });
  });

  it("learns labels that came with a request, in memory, once", async () => {
    const { engine, classifiers } = scene([]);
    const definition = home();
    const order = { classifier: definition, text: "dim the lamp" };
    expect(await classifiers.classify(order, signal)).toMatchObject({ label: "lights", by: "examples" });
    const embedded = engine.embedded.length;
    await classifiers.classify({ ...order, text: "stop the music" }, signal);
    expect(engine.embedded.length).toBe(embedded + 1);
  });

  it("takes up its stored head after a restart without embedding anything but the text", async () => {
    const directory = await folder();
    await scene([home()], { directory }).ask("dim the lamp");
    const { engine, ask } = scene([home()], { directory });
    expect(await ask("dim the lamp")).toMatchObject({ label: "lights", version: 1 });
    expect(engine.embedded).toEqual(["dim the lamp"]);
  });

  it("trains a new version when the encoder or an example has changed", async () => {
    const directory = await folder();
    await scene([home()], { directory }).ask("dim the lamp");
    const other = scene([home()], { directory });
    other.models.encoder = encoderFile("bge");
    expect(await other.ask("dim the lamp")).toMatchObject({ version: 2 });
    expect(other.engine.embedded.length).toBeGreaterThan(examples.length);
    const more = [...examples, { text: "radio on", labels: ["media"] }];
    const third = scene([home({ examples: more })], { directory });
    third.models.encoder = encoderFile("bge");
    expect(await third.ask("dim the lamp")).toMatchObject({ version: 3 });
    // What it knew already is not embedded again.
    expect(third.engine.embedded.filter((text) => !text.startsWith("this message is about"))).toEqual([
      "radio on",
      "dim the lamp",
    ]);
  });

  it("refuses a classifier nobody configured and names those that are", async () => {
    const { classifiers } = scene([home()]);
    const asked = classifiers.classify({ classifier: "office", text: "hi" }, signal);
    await expect(asked).rejects.toMatchObject({ code: "bad_request", message: expect.stringContaining("home") });
  });
});
