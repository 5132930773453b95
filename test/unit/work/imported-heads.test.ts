// Classifiers whose head came with their model: it answers as it was trained, and nothing is learnt.
import { describe, expect, it } from "vitest";
import { type ClassificationHead, classProbabilities } from "../../../src/core/classification-head.ts";
import { type ClassifierDefinition, defineClassifier } from "../../../src/core/classifier.ts";
import type { ModelFile } from "../../../src/core/model-file.ts";
import { Classifiers } from "../../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../../src/work/decoder-classifier.ts";
import { Feedback } from "../../../src/work/feedback.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { DIMENSIONS, encoderFile, FakeEncoder } from "../../fakes/encoder.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const signal = new AbortController().signal;

function headOf(labels: string[], link: ClassificationHead["link"] = "softmax"): ClassificationHead {
  const wave = (count: number, pace: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(pace * i) / 4);
  return {
    ...{ activation: "relu", labels, link, hiddenSize: DIMENSIONS },
    ...{ denseWeight: wave(DIMENSIONS * DIMENSIONS, 1.7), denseBias: wave(DIMENSIONS, 0.3) },
    ...{ outputWeight: wave(labels.length * DIMENSIONS, 2.3), outputBias: wave(labels.length, 0.9) },
  };
}

function scene(given: Partial<ClassifierDefinition>, file: ModelFile | undefined, decoder = false) {
  const engine = new FakeEncoder();
  const files = new Map<string | undefined, ModelFile | undefined>([[given.model, file]]);
  const classifiers = new Classifiers([defineClassifier({ name: "mood", ...given })], {
    engine,
    clock: new FakeClock(),
    log: new FakeLogger(),
    encoder: (model) => files.get(model),
    decoder: new DecoderClassifier(engine),
    decoderModel: () => (decoder ? encoderFile("smol") : undefined),
  });
  const ask = (text: string) => classifiers.classify({ classifier: "mood", text, explain: true }, signal);
  return { engine, classifiers, files, ask };
}

describe("a classifier whose model brings a head", () => {
  const head = headOf(["joy", "anger", "fear"]);
  const file = encoderFile("moods", head);

  it("answers with the head's labels and exactly its probabilities, without training or a second opinion", async () => {
    const { engine, ask } = scene({ model: "moods" }, file, true);
    const verdict = await ask("what a day");
    const { vectors } = await engine.embed(["what a day"]);
    const expected = classProbabilities(head, vectors[0] ?? new Float32Array(0));
    expect(Object.keys(verdict.probabilities)).toEqual(head.labels);
    expect(Object.values(verdict.probabilities)).toEqual(expected);
    expect(verdict).toMatchObject({
      by: "head",
      version: 0,
      label: head.labels[expected.indexOf(Math.max(...expected))],
    });
    expect(verdict.nearest).toBeUndefined();
    expect(engine.scored).toHaveLength(0);
    expect(engine.embedded).toEqual(["what a day", "what a day"]);
  });

  it("asks the decoder too where the definition says so", async () => {
    const { engine, ask } = scene({ model: "moods", decoderMargin: 1 }, file, true);
    expect(await ask("what a day")).toMatchObject({ by: "decoder" });
    expect(engine.scored.length).toBeGreaterThan(0);
  });

  it("abstains below its threshold", async () => {
    const { ask } = scene({ model: "moods", threshold: 1, abstainLabel: "unknown" }, file);
    expect(await ask("what a day")).toMatchObject({ label: "unknown" });
  });

  it("gives every label from one half on where the head was trained for several", async () => {
    const several = headOf(["joy", "anger", "fear"], "sigmoid");
    const { ask } = scene({ model: "moods" }, encoderFile("moods", several));
    const { labels, probabilities } = await ask("what a day");
    expect(labels).toEqual(several.labels.filter((label) => (probabilities[label] ?? 0) >= 0.5));
    expect(Object.values(probabilities).reduce((sum, one) => sum + one, 0)).not.toBeCloseTo(1, 3);
  });

  it("is used with the labels named in another order, and refuses other ones with those it knows", async () => {
    const labels = ["fear", "joy", "anger"].map((name) => ({ name }));
    expect(await scene({ model: "moods", labels }, file).ask("what a day")).toMatchObject({ by: "head" });
    const other = scene({ model: "moods", labels: [{ name: "lights" }] }, file);
    await expect(other.ask("what a day")).rejects.toThrowError(/knows the labels joy, anger, fear/);
  });

  it("trains a head of its own where there are examples", async () => {
    const examples = [
      { text: "lamp on", labels: ["lights"] },
      { text: "music on", labels: ["media"] },
    ];
    const { ask } = scene({ model: "moods", labels: [{ name: "lights" }, { name: "media" }], examples }, file);
    expect(await ask("lamp off")).toMatchObject({ by: "head", version: 1, label: "lights" });
  });

  it("is unavailable while its model is not loaded, whatever the decoder could say", async () => {
    const { ask, files } = scene({ model: "moods" }, undefined, true);
    await expect(ask("what a day")).rejects.toMatchObject({ code: "model_unavailable" });
    files.set("moods", file);
    expect(await ask("what a day")).toMatchObject({ by: "head" });
  });

  it("says when neither it nor its model has labels", async () => {
    const { ask } = scene({ model: "plain" }, encoderFile("plain"));
    await expect(ask("what a day")).rejects.toMatchObject({ code: "bad_request" });
  });

  it("counts feedback for its rolling accuracy, and says that nothing is learnt", async () => {
    const { classifiers } = scene({ model: "moods" }, file);
    const feedback = new Feedback(classifiers, { mostPerHour: 9 }, new FakeClock(), new FakeLogger());
    const payload = new TextEncoder().encode(JSON.stringify({ text: "what a day", label: "joy" }));
    expect(await feedback.handle({ payload }, signal)).toMatchObject({
      ...{ classifier: "mood", label: "joy", learnt: false, version: 0 },
      rolling: { judged: 1 },
    });
  });

  it("cannot be trained here", async () => {
    const { classifiers } = scene({ model: "moods" }, file);
    await expect(classifiers.named("mood").retrain(signal)).rejects.toMatchObject({ code: "bad_request" });
  });
});

describe("a text longer than the encoder reads", () => {
  const text = "word ".repeat(200).trim();

  it("is refused, or read as far as it goes where that is allowed, and the verdict says so", async () => {
    const { classifiers, ask } = scene({ model: "moods" }, encoderFile("moods", headOf(["a", "b"])));
    await expect(ask(text)).rejects.toMatchObject({ code: "too_long" });
    expect(await classifiers.classify({ classifier: "mood", text, cut: true }, signal)).toMatchObject({
      truncated: true,
    });
    await expect(ask(text)).rejects.toMatchObject({ code: "too_long" });
  });

  it("as an example teaches by its beginning", async () => {
    const examples = [
      { text: `lamp ${text}`, labels: ["lights"] },
      { text: "music on", labels: ["media"] },
    ];
    const { ask } = scene({ labels: [{ name: "lights" }, { name: "media" }], examples }, encoderFile("minilm"));
    expect(await ask("music off")).toMatchObject({ label: "media" });
  });
});
