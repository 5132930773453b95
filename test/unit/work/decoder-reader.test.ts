import { describe, expect, it } from "vitest";
import { defineClassifier, labelledTexts } from "../../../src/core/classifier.ts";
import { DecoderReader } from "../../../src/work/decoder-reader.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { encoderFile, FakeEncoder } from "../../fakes/encoder.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const labels = [{ name: "lights" }, { name: "media" }];
const examples = labelledTexts([
  { text: "turn the lamp on", label: "lights" },
  { text: "switch the lamp off", label: "lights" },
  { text: "play some jazz music", label: "media" },
  { text: "louder music please", label: "media" },
]);
const home = defineClassifier({ name: "home", labels, examples });
const signal = new AbortController().signal;

function scene() {
  const engine = new FakeEncoder();
  const models = { decoder: encoderFile("smol") };
  const log = new FakeLogger();
  const reader = new DecoderReader({ engine, clock: new FakeClock(), log, decoderModel: () => models.decoder });
  return { engine, models, reader };
}

describe("DecoderReader", () => {
  it("learns from its examples and judges by them", async () => {
    const { reader } = scene();
    const { probabilities, nearest } = await reader.opinion(home, "dim the lamp", signal);
    expect(probabilities[0]).toBeGreaterThan(0.5);
    expect(nearest.labels).toEqual(["lights"]);
  });

  it("reads its examples once, then one page a message", async () => {
    const { engine, reader } = scene();
    await reader.opinion(home, "dim the lamp", signal);
    const before = engine.read.length;
    await reader.opinion(home, "stop the music", signal);
    expect(engine.read.length).toBe(before + 1);
  });

  it("goes on where a learning that was cut off stopped", async () => {
    const { engine, reader } = scene();
    const cut = new AbortController();
    engine.onRead = () => {
      if (engine.read.length === 3) cut.abort(new Error("too late"));
    };
    await expect(reader.opinion(home, "dim the lamp", cut.signal)).rejects.toThrow("too late");
    await reader.opinion(home, "dim the lamp", signal);
    expect(new Set(engine.read).size).toBe(engine.read.length);
  });

  it("learns anew when the models have changed", async () => {
    const { engine, models, reader } = scene();
    await reader.opinion(home, "dim the lamp", signal);
    const before = engine.read.length;
    models.decoder = encoderFile("other");
    reader.forget();
    await reader.opinion(home, "dim the lamp", signal);
    expect(engine.read.length).toBe(2 * before);
  });

  it("cannot learn while a label has no example", () => {
    const { reader } = scene();
    expect(reader.canLearn(home)).toBe(true);
    const wider = defineClassifier({ name: "home", labels: [...labels, { name: "vacuum" }], examples });
    expect(reader.canLearn(wider)).toBe(false);
  });

  it("reads some of each label of many examples", async () => {
    const { engine, reader } = scene();
    const many = Array.from({ length: 300 }, (_, index) => ({ text: `lamp ${index}`, labels: ["lights"] }));
    const long = defineClassifier({ name: "home", labels, examples: [...many, ...examples] });
    await reader.opinion(long, "dim the lamp", signal);
    expect(engine.read.length).toBeLessThan(140);
    expect(engine.read.some((page) => page.includes("louder music please"))).toBe(true);
  });
});
