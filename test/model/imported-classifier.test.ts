// From a Hugging Face directory to labels on the bus, as a user would go: `pipit models import`, a classifier that names the
// model, an agent without any other model. Probabilities against torch's (bert-reference.py).
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { softmax } from "../../src/core/labels.ts";
import { type Agent, startAgent } from "../fixtures/agent.ts";
import { bertReference, writeBertDirectory } from "../fixtures/bert-directory.ts";

const reference = await bertReference();
const { logits } = reference.models.distilbert;
/** Texts that a request may carry and the model can read, with what torch made of them. */
const cases = reference.texts
  .filter((_, index) => reference.ids[index]!.length <= 62)
  .map((text, index) => ({ text, expected: softmax(logits[index]!) }))
  .filter(({ text }) => text.trim() !== "");
const long = "z ".repeat(200).trim();

describe("a DistilBERT of the user", () => {
  let agent: Agent | undefined;
  const ask = async (body: object, topic?: string) => (await agent!.ask(body, topic)).reply;
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "pipit-imported-"));
    await writeBertDirectory(join(dir, "my-distilbert"), "distilbert");
    const env = { ...process.env, PIPIT_MODELS_DIR: join(dir, "models") };
    const args = ["dist/main.js", "models", "import", join(dir, "my-distilbert"), "--json"];
    const imported = JSON.parse(execFileSync(process.execPath, args, { env, stdio: "pipe" }).toString()) as object;
    expect(imported).toMatchObject({ name: "my-distilbert", labels: ["light", "heat", "other"] });
    await mkdir(join(dir, "state/classifiers"), { recursive: true });
    await writeFile(join(dir, "state/classifiers/home.yaml"), "model: my-distilbert\n");
    const routes = [
      { filter: "home/said", task: "classify", classifier: "home" },
      { filter: "home/read", task: "classify", classifier: "configured", truncate: true },
    ];
    const set = {
      "model.name": "none",
      "model.encoder": "none",
      "classify.classifiers": JSON.stringify([{ name: "configured", model: "my-distilbert", threshold: 0.2 }]),
      routes: JSON.stringify(routes),
    };
    agent = await startAgent({ set, env: { ...env, PIPIT_STATE_DIR: join(dir, "state") }, ready: "encoders" });
  });
  afterAll(async () => {
    await agent?.stop();
    await rm(dir, { recursive: true });
  });

  it.each(["/home/said", "/home/read"])("answers on %s with the labels and probabilities of torch", async (topic) => {
    expect(cases.length).toBeGreaterThan(10);
    for (const { text, expected } of cases) {
      const reply = await ask({ text }, topic);
      const best = ["light", "heat", "other"][expected.indexOf(Math.max(...expected))];
      expect(reply, text).toMatchObject({ status: "ok", by: "head", model: "my-distilbert", label: best });
      for (const [index, name] of ["light", "heat", "other"].entries()) {
        expect(Math.abs((reply.probabilities?.[name] ?? NaN) - expected[index]!), text).toBeLessThanOrEqual(0.01);
      }
    }
  });

  it("refuses a text over the position limit, and reads its beginning where the route says so", async () => {
    expect(await ask({ text: long }, "/home/said")).toMatchObject({
      status: "error",
      error: { code: "too_long", message: expect.stringMatching(/200 tokens, the encoder reads 62/) },
    });
    const reply = await ask({ text: long }, "/home/read");
    expect(reply).toMatchObject({ status: "ok", by: "head", truncated: true, usage: { prompt_tokens: 62 } });
  });

  it("says of questions that there is no generative model", async () => {
    expect(await ask({ text: "Which day is it?" })).toMatchObject({
      error: { code: "model_unavailable" },
    });
  });
});
