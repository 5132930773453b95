// Classification with the real decoder alone: what its readings of examples are worth.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defineClassifier, labelledTexts } from "../../src/core/classifier.ts";
import { systemClock } from "../../src/core/clock.ts";
import { evaluate, type Judged } from "../../src/core/evaluation.ts";
import { Classifiers } from "../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../src/work/decoder-classifier.ts";
import { encoderFile } from "../fakes/encoder.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { homeIntents, outOfScope } from "../fixtures/home-intents.ts";
import { smolLm2, WHY_SKIPPED } from "../fixtures/models.ts";
import { type RealEngine, realEngine } from "../fixtures/real-engine.ts";

const file = await smolLm2();
if (file === undefined) console.warn(WHY_SKIPPED);

const dev = homeIntents("dev");
const names = [...new Set(dev.map(({ label }) => label))];
const labels = names.map((name) => ({ name }));
const signal = new AbortController().signal;

describe.skipIf(file === undefined)("SmolLM2-135M alone", () => {
  let on: RealEngine;
  let classifiers: Classifiers;
  beforeAll(async () => {
    on = await realEngine(file ?? "", { contextTokens: 2048 });
    classifiers = new Classifiers([], {
      engine: on.engine,
      clock: systemClock,
      log: new FakeLogger(),
      encoder: () => undefined,
      decoder: new DecoderClassifier(on.engine),
      decoderModel: () => encoderFile("smollm2"),
    });
  });
  afterAll(() => on.engine.stop());

  it("learns home intents from 8 examples a label and notices other texts", async () => {
    const examples = labelledTexts(homeIntents("examples"));
    const classifier = defineClassifier({ name: "home", labels, examples, scope: "auto" });
    const judged: Judged[] = [];
    for (const { text, label: expected } of [...dev, ...outOfScope().map((text) => ({ text, label: null }))]) {
      const verdict = await classifiers.classify({ classifier, text, explain: true }, signal);
      const { label, confidence, by, probabilities } = verdict;
      const [best] = Object.entries(probabilities).sort(([, one], [, other]) => other - one)[0] ?? [""];
      const similarity = verdict.nearest?.similarity ?? 0;
      judged.push({ text, expected, label, best, confidence, similarity, by, latencyMs: 0 });
    }
    const { accuracy, calibrationError, outOfScopeAuroc, coverage } = evaluate(judged, names);
    const others = judged.filter(({ expected }) => expected === null);
    const keptOut = others.filter(({ label }) => label === null).length / others.length;
    expect(accuracy).toBeGreaterThanOrEqual(0.84);
    expect(calibrationError).toBeLessThanOrEqual(0.06);
    expect(outOfScopeAuroc).toBeGreaterThanOrEqual(0.93);
    expect(coverage).toBeGreaterThan(0.95);
    expect(keptOut).toBeGreaterThan(0.7);
  }, 180_000);
});
