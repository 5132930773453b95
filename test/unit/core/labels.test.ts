import { describe, expect, it } from "vitest";
import {
  LabelPrior,
  checkLabels,
  contentFreePrior,
  decide,
  lengthNormalised,
  logSoftmax,
  softmax,
} from "../../../src/core/labels.ts";

const logs = (...probabilities: number[]) => probabilities.map((p) => ({ sum: Math.log(p), tokens: 1 }));

describe("checkLabels", () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => ({ name: `label ${index}` }));

  it.each([
    ["none", [], /labels is empty/],
    ["65", many(65), /65 labels, the most is 64/],
    ["an empty name", [{ name: "a" }, { name: " " }], /labels\[1\] is empty/],
    ["a name twice", [{ name: "a" }, { name: "a" }], /has "a" twice/],
    ["a name of 201 characters", [{ name: "x".repeat(201) }], /labels\[0\] has 201 characters, the most is 200/],
  ])("refuses %s", (_, labels, message) => {
    expect(() => checkLabels(labels)).toThrow(expect.objectContaining({ code: "bad_request", kind: "request" }));
    expect(() => checkLabels(labels)).toThrow(message);
  });

  it("accepts 1 to 64 labels", () => {
    checkLabels(many(1));
    checkLabels(many(64));
  });
});

describe("label scores", () => {
  it("lets a label of three likely tokens win against one unlikely token", () => {
    const scores = [
      { sum: -2, tokens: 1 },
      { sum: -3, tokens: 3 },
    ];
    expect(lengthNormalised(scores)).toEqual([-2, -1]);
  });

  it.each([
    [[0, 0], 1, [0.5, 0.5]],
    [[Math.log(3), 0], 1, [0.75, 0.25]],
    [[2 * Math.log(3), 0], 2, [0.75, 0.25]],
    [[-1e6, -1e6], 1, [0.5, 0.5]],
    [[-Infinity, -Infinity], 1, [0.5, 0.5]],
    [[-Infinity, -3], 1, [0, 1]],
  ])("makes probabilities of %j at temperature %d", (logits, temperature, expected) => {
    for (const [index, probability] of softmax(logits, temperature).entries()) {
      expect(probability).toBeCloseTo(expected[index] ?? NaN, 12);
    }
  });

  it("gives log-probabilities whose exponentials sum to one", () => {
    const total = logSoftmax([-700, -701, -1000]).reduce((sum, value) => sum + Math.exp(value), 0);
    expect(total).toBeCloseTo(1, 12);
  });
});

describe("calibration", () => {
  it("takes away what the model prefers without content", () => {
    const prior = new LabelPrior(contentFreePrior([logs(0.8, 0.2)]));
    const [first = 0, second = 0] = softmax(prior.calibrate(logs(0.6, 0.4)));
    expect(second / first).toBeCloseTo(0.4 / 0.2 / (0.6 / 0.8), 9);
  });

  it("averages several content-free texts in the log domain", () => {
    const [first = 0, second = 0] = contentFreePrior([logs(0.9, 0.1), logs(0.1, 0.9)]);
    expect(first).toBeCloseTo(second, 12);
  });

  it("learns a preference that only shows on real messages", () => {
    const prior = new LabelPrior(contentFreePrior([logs(0.5, 0.5)]));
    for (let message = 0; message < 100; message++)
      prior.observe(message % 2 === 0 ? logs(0.9, 0.1) : logs(0.45, 0.55));
    const [leaning = 0] = softmax(prior.calibrate(logs(0.6, 0.4)));
    expect(leaning).toBeLessThan(0.5);
  });

  it("is not turned over by a flood of one label", () => {
    const prior = new LabelPrior(contentFreePrior([logs(0.5, 0.5)]));
    for (let message = 0; message < 10_000; message++) prior.observe(logs(0.95, 0.05));
    const [again = 0] = softmax(prior.calibrate(logs(0.6, 0.4)));
    expect(again).toBeGreaterThan(0.5);
  });

  it("learns from every label again when the flood is over", () => {
    const flooded = new LabelPrior(contentFreePrior([logs(0.5, 0.5)]));
    const calm = new LabelPrior(contentFreePrior([logs(0.5, 0.5)]));
    for (let message = 0; message < 1000; message++) flooded.observe(logs(0.95, 0.05));
    for (let message = 0; message < 1000; message++)
      for (const prior of [flooded, calm]) prior.observe(message % 2 === 0 ? logs(0.9, 0.1) : logs(0.3, 0.7));
    for (const [label, value] of flooded.logPrior.entries()) expect(value).toBeCloseTo(calm.logPrior[label]!, 3);
  });

  it("judges no message by itself", () => {
    const prior = new LabelPrior(contentFreePrior([logs(0.5, 0.5)]));
    expect(prior.calibrate(logs(0.8, 0.2))).toEqual(prior.calibrate(logs(0.8, 0.2)));
  });
});

describe("decide", () => {
  const labels = ["a", "b", "c"];

  it.each([
    [[0.2, 0.5, 0.3], {}, "b", 0.5, 0.2],
    [[0.5, 0.3, 0.2], {}, "a", 0.5, 0.2],
    [[0.1, 0.2, 0.7], { threshold: 0.7 }, "c", 0.7, 0.5],
    [[0.1, 0.2, 0.7], { threshold: 0.71 }, null, 0.7, 0.5],
    [[0.1, 0.2, 0.7], { threshold: 0.71, abstainLabel: "unknown" }, "unknown", 0.7, 0.5],
  ])("of %j under %j answers %j", (probabilities, rule, label, confidence, margin) => {
    const decision = decide(labels, probabilities, rule);
    expect(decision.label).toBe(label);
    expect(decision.confidence).toBeCloseTo(confidence, 12);
    expect(decision.margin).toBeCloseTo(margin, 12);
  });

  it("keeps the best label beside an abstention", () => {
    expect(decide(labels, [0.4, 0.35, 0.25], { threshold: 0.9 })).toMatchObject({ best: "a", abstained: true });
  });

  it("has a margin of one with a single label", () => {
    expect(decide(["only"], [1])).toMatchObject({ label: "only", confidence: 1, margin: 1 });
  });

  it("reports a label named like a property of every object", () => {
    const { probabilities } = decide(["__proto__", "b"], [0.25, 0.75]);
    expect(Object.entries(probabilities)).toEqual([
      ["__proto__", 0.25],
      ["b", 0.75],
    ]);
  });
});
