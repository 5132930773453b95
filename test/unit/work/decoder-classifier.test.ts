import { describe, expect, test } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import type { LabelPrompt } from "../../../src/core/label-prompt.ts";
import type { ScoreJob, Scores } from "../../../src/core/ports.ts";
import { DecoderClassifier } from "../../../src/work/decoder-classifier.ts";
import { drain } from "../../fixtures/pipeline-agent.ts";

const prompt: LabelPrompt = { labels: [{ name: "light" }, { name: "music" }], examples: [] };
const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 0 };
const never = new AbortController().signal;

/** Scores by what a function says; counts how often it was asked. */
function scoring(likelihood: (page: string, candidate: string) => number, before?: () => Promise<void>) {
  const jobs: ScoreJob[] = [];
  const score = async (job: ScoreJob, signal?: AbortSignal): Promise<Scores> => {
    jobs.push(job);
    await before?.();
    if (signal?.aborted) throw new PipitError("transient", "aborted", "cancelled");
    const page = JSON.stringify(job.turns);
    const logProbabilities = job.candidates.map((one) => ({ sum: likelihood(page, one.trim()), tokens: 1 }));
    return { logProbabilities, usage, prefillMs: 1 };
  };
  return { jobs, classifier: new DecoderClassifier({ score }) };
}

describe("classification by a decoder", () => {
  test("takes the preference of the model away", async () => {
    // It says `light` to everything, a little less so to what is about music.
    const { classifier } = scoring((page, label) => (label === "light" ? -0.5 : /jazz/.test(page) ? -1 : -3));
    const verdict = await classifier.classify(prompt, "play jazz", {}, never);
    expect(verdict).toMatchObject({ label: "music", by: "decoder" });
    expect(Object.values(verdict.probabilities).reduce((sum, one) => sum + one, 0)).toBeCloseTo(1);
  });

  test("measures the preference once for all questions of the same labels, also those that come at once", async () => {
    const { classifier, jobs } = scoring(() => -1);
    await Promise.all(["a", "b", "c"].map((text) => classifier.classify(prompt, text, {}, never)));
    const first = jobs.length;
    await classifier.classify(prompt, "d", {}, never);
    expect(jobs.length).toBe(first + 1);
    await classifier.classify({ ...prompt, labels: [{ name: "other" }] }, "d", {}, never);
    expect(jobs.length).toBeGreaterThan(first + 3);
  });

  test("of one question is not lost because another one was cancelled that had begun to measure", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const { classifier } = scoring(
      () => -1,
      () => held,
    );
    const controller = new AbortController();
    const cancelled = classifier.classify(prompt, "first", {}, controller.signal);
    const waits = classifier.classify(prompt, "second", {}, never);
    const refused = expect(cancelled).rejects.toMatchObject({ code: "aborted" });
    await drain();
    controller.abort(new Error("enough"));
    release();
    await refused;
    expect((await waits).by).toBe("decoder");
  });

  test("abstains below the threshold", async () => {
    const { classifier } = scoring(() => -1);
    expect(await classifier.classify(prompt, "a", { threshold: 0.9 }, never)).toMatchObject({ label: null });
  });

  test("measures again once the model has changed", async () => {
    const { classifier, jobs } = scoring(() => -1);
    await classifier.classify(prompt, "a", {}, never);
    const first = jobs.length;
    classifier.forget();
    await classifier.classify(prompt, "a", {}, never);
    expect(jobs.length).toBe(2 * first);
  });

  test("without labels is a bad request", async () => {
    const { classifier } = scoring(() => -1);
    await expect(classifier.classify({ labels: [], examples: [] }, "a", {}, never)).rejects.toMatchObject({
      code: "bad_request",
    });
  });
});
