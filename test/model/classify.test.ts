// Classification with the real encoder: what unit tests with made-up vectors cannot show.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { defineClassifier, labelledTexts } from "../../src/core/classifier.ts";
import { systemClock } from "../../src/core/clock.ts";
import { evaluate, type Judged } from "../../src/core/evaluation.ts";
import { FileHeadStore } from "../../src/models/head-store.ts";
import { Classifiers } from "../../src/work/classifiers.ts";
import { DecoderClassifier } from "../../src/work/decoder-classifier.ts";
import { encoderFile } from "../fakes/encoder.ts";
import { FakeLogger } from "../fakes/logger.ts";
import { homeIntents, outOfScope } from "../fixtures/home-intents.ts";
import { miniLm, WHY_NO_ENCODER } from "../fixtures/models.ts";
import { type RealEngine, realEngine } from "../fixtures/real-engine.ts";

const file = await miniLm();
if (file === undefined) console.warn(WHY_NO_ENCODER);

const dev = homeIntents("dev");
const names = [...new Set(dev.map(({ label }) => label))];
const signal = new AbortController().signal;

describe.skipIf(file === undefined)("all-MiniLM-L6-v2 and a head on it", () => {
  let on: RealEngine;
  let directory: string;
  beforeAll(async () => {
    on = await realEngine(file ?? "", { name: "minilm", kind: "encoder", contextTokens: 512, batchTokens: 512 });
    directory = await mkdtemp(join(tmpdir(), "pipit-heads-"));
  });
  afterAll(async () => {
    await on.engine.stop();
    await rm(directory, { recursive: true });
  });

  function classifiers(perLabel: number) {
    const labels = names.map((name) => ({ name }));
    const examples = labelledTexts(homeIntents("examples", perLabel));
    const log = new FakeLogger();
    return new Classifiers([defineClassifier({ name: `home-${perLabel}`, labels, examples })], {
      engine: on.engine,
      clock: systemClock,
      log,
      store: new FileHeadStore(directory, log),
      encoder: () => ({ ...encoderFile("minilm"), path: file ?? "" }),
      decoder: new DecoderClassifier(on.engine),
      decoderModel: () => undefined,
    });
  }

  async function measure(perLabel: number) {
    const own = classifiers(perLabel);
    const judged: Judged[] = [];
    for (const { text, label: expected } of [...dev, ...outOfScope().map((text) => ({ text, label: null }))]) {
      const verdict = await own.classify({ classifier: `home-${perLabel}`, text, explain: true }, signal);
      const { label, confidence, by } = verdict;
      const similarity = verdict.nearest?.similarity ?? 0;
      judged.push({ text, expected, label, best: label ?? "", confidence, similarity, by, latencyMs: 0 });
    }
    return evaluate(judged, names);
  }

  it.each([
    [8, 0.95],
    [3, 0.89],
  ])(
    "learns home intents from %d examples a label, is as sure as it is right, and notices other texts",
    async (perLabel, least) => {
      const { accuracy, calibrationError, outOfScopeAuroc } = await measure(perLabel);
      expect(accuracy).toBeGreaterThanOrEqual(least);
      expect(calibrationError).toBeLessThanOrEqual(0.06);
      expect(outOfScopeAuroc).toBeGreaterThanOrEqual(0.93);
    },
  );

  it("takes up its stored head and gives the same probabilities", async () => {
    const ask = () => classifiers(8).classify({ classifier: "home-8", text: "set the bedroom lamp to red" }, signal);
    const first = await ask();
    expect(first.version).toBe(1);
    expect((await ask()).probabilities).toEqual(first.probabilities);
  });
});
