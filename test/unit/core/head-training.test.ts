import { describe, expect, it } from "vitest";
import { headProbabilities, nearestOf } from "../../../src/core/head.ts";
import { type Case, labelSentence, trainHead, type TrainingData } from "../../../src/core/head-training.ts";
import { normalised, type Vector } from "../../../src/core/matrix.ts";
import { randomOf, randomVectors, scattered } from "./random.ts";

const DIMENSIONS = 48;

function scene(options: { labels?: number; each?: number; noise?: number; seed?: number } = {}) {
  const { labels = 4, each = 6, noise = 0.5, seed = 1 } = options;
  const random = randomOf(seed);
  const centres = randomVectors(labels, DIMENSIONS, random);
  const data: TrainingData = {
    labels: centres.map((_, index) => `label ${index}`),
    link: "softmax",
    examples: scattered(centres, labels * each, noise, random),
    anchors: centres.map((vector, index) => ({ vector, labels: [index] })),
  };
  return { data, centres, tests: scattered(centres, 400, noise, random), random };
}

const best = (values: number[]) => values.indexOf(Math.max(...values));

describe("trainHead", () => {
  it("tells labels apart that overlap", () => {
    const { data, tests } = scene({ noise: 0.7 });
    const head = trainHead(data);
    const right = tests.filter(({ vector, labels }) => best(headProbabilities(head, vector)) === labels[0]);
    expect(right.length / tests.length).toBeGreaterThan(0.9);
  });

  it("gives the same head for the same examples, to the bit", () => {
    expect(trainHead(scene().data)).toEqual(trainHead(scene().data));
  });

  it("is about as sure as it is right, where it is often wrong", () => {
    const scenes = [1, 2, 3, 4].map((seed) => {
      const { data, tests } = scene({ each: 20, noise: 1.6, seed });
      const head = trainHead(data);
      const found = tests.map(({ vector, labels }) => {
        const probabilities = headProbabilities(head, vector);
        return { sure: Math.max(...probabilities), right: best(probabilities) === labels[0] ? 1 : 0 };
      });
      return {
        sure: found.reduce((sum, { sure }) => sum + sure, 0) / found.length,
        right: found.reduce((sum, { right }) => sum + right, 0) / found.length,
      };
    });
    const mean = (key: "sure" | "right") => scenes.reduce((sum, own) => sum + own[key], 0) / scenes.length;
    expect(mean("right")).toBeLessThan(0.97);
    expect(Math.abs(mean("sure") - mean("right"))).toBeLessThan(0.06);
  });

  it("is not sure of everything when cross-validation makes no mistake", () => {
    const { data } = scene({ noise: 0.1 });
    const head = trainHead(data);
    expect(head.validation).toMatchObject({ cases: 24, accuracy: 1 });
    const [first] = data.examples;
    expect(Math.max(...headProbabilities(head, first!.vector))).toBeLessThan(0.99999);
    expect(head.temperature).toBeGreaterThan(0.01);
  });

  it("works from label sentences alone, and from one example a label without them", () => {
    const { data, centres, tests } = scene({ noise: 0.3 });
    for (const only of [
      { ...data, examples: [] },
      { ...data, anchors: [], examples: data.examples.slice(0, centres.length) },
    ]) {
      const head = trainHead(only);
      const right = tests.filter(({ vector, labels }) => best(headProbabilities(head, vector)) === labels[0]);
      expect(right.length / tests.length).toBeGreaterThan(0.8);
    }
  });

  it("gives all of it to a single label", () => {
    const { data } = scene({ labels: 1 });
    expect(headProbabilities(trainHead(data), data.examples[0]!.vector)).toEqual([1]);
  });

  it("refuses to learn from nothing", () => {
    expect(() => trainHead({ labels: [], link: "softmax", examples: [], anchors: [] })).toThrow(RangeError);
    expect(() => trainHead({ labels: ["a"], link: "softmax", examples: [], anchors: [] })).toThrow(RangeError);
  });

  it("judges several labels of one text each for itself", () => {
    const { centres, random } = scene();
    const both = (one: number, two: number) => centres[one]!.map((value, index) => value + centres[two]![index]!);
    const pairs = [
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 0],
    ];
    const noisy = (vector: Float32Array) => vector.map((value) => value + 0.3 * (random() - 0.5));
    const examples = Array.from({ length: 48 }, (_, index) => {
      const labels = index % 2 === 0 ? [index % 4] : pairs[index % 4]!;
      return { vector: noisy(labels.length === 1 ? centres[labels[0]!]! : both(labels[0]!, labels[1]!)), labels };
    });
    const head = trainHead({ labels: ["a", "b", "c", "d"], link: "sigmoid", examples, anchors: [] });
    expect(headProbabilities(head, both(2, 3)).map((probability) => probability > 0.5)).toEqual([
      false,
      false,
      true,
      true,
    ]);
    expect(headProbabilities(head, centres[0]!).map((probability) => probability > 0.5)).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  // A decoder's vectors all point much the same way; a share of the similarity alone would keep nothing out then.
  it.each([
    [0, 0.9],
    [2, 0.5],
  ])("puts the border of its scope around its examples, all vectors shifted by %d", (shift, keptOut) => {
    const shifted = (vector: Vector) => Float32Array.from(vector, (value) => value + shift);
    const { data: plain, tests: unshifted, random } = scene({ noise: 0.5 });
    const moved = (cases: readonly Case[]) => cases.map(({ vector, labels }) => ({ vector: shifted(vector), labels }));
    const data = { ...plain, examples: moved(plain.examples), anchors: moved(plain.anchors) };
    const tests = moved(unshifted);
    const { scopeThreshold } = trainHead(data);
    const examples = data.examples.map(({ vector }) => normalised(vector));
    const inside = tests.filter(({ vector }) => nearestOf(examples, vector).similarity < scopeThreshold);
    const outside = randomVectors(400, DIMENSIONS, random)
      .map(shifted)
      .filter((vector) => nearestOf(examples, vector).similarity < scopeThreshold);
    expect(inside.length / tests.length).toBeLessThan(0.05);
    expect(outside.length / 400).toBeGreaterThan(keptOut);
  });
});

describe("labelSentence", () => {
  it.each([
    [{ name: "weather" }, "this message is about weather"],
    [{ name: "clock", description: "time and date" }, "this message is about clock: time and date"],
  ])("says %j as a sentence", (label, sentence) => expect(labelSentence(label)).toBe(sentence));
});
