// The child process with the real SmolLM2: the contract of every engine, then what only a model can show.
import { setImmediate } from "node:timers/promises";
import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Turn } from "../../src/core/ports.ts";
import { CAPITAL, engineContract, jobOf, write } from "../contract/engine.ts";
import { chatReference } from "../fixtures/chat-reference.ts";
import { smolLm2, WHY_SKIPPED } from "../fixtures/models.ts";
import { type RealEngine, realEngine } from "../fixtures/real-engine.ts";

const file = await smolLm2();
if (file === undefined) console.warn(WHY_SKIPPED);

describe.skipIf(file === undefined)("SmolLM2 in a child process", () => {
  engineContract("the child engine", () => realEngine(file ?? ""));

  describe("in work", () => {
    let on: RealEngine;
    beforeAll(async () => {
      on = await realEngine(file ?? "", { contextTokens: 1024 });
    });
    afterAll(() => on.engine.stop());

    test("stops an answer within one batch of the abort", async () => {
      const controller = new AbortController();
      let seen = 0;
      const cancelled = (async () => {
        for await (const _ of on.engine.generate(jobOf(CAPITAL), controller.signal)) {
          controller.abort(new Error("enough"));
          seen = on.steps.length;
        }
      })();
      await expect(cancelled).rejects.toMatchObject({ code: "aborted" });
      await on.engine.tokenize(CAPITAL);
      // One batch may be in flight when the abort arrives, and one result on its way back when it is sent.
      expect(on.steps.length - seen).toBeLessThanOrEqual(2);
    });

    test("stops the reading of a long prompt within one batch of the abort", async () => {
      const turns: Turn[] = [{ role: "user", text: "The cat sat on the mat. ".repeat(120) }];
      const controller = new AbortController();
      const before = on.steps.length;
      const cancelled = write(on.engine, jobOf(turns), controller.signal);
      const refused = expect(cancelled).rejects.toMatchObject({ code: "aborted" });
      while (on.steps.length === before) await setImmediate();
      controller.abort(new Error("enough"));
      const seen = on.steps.length;
      await refused;
      await on.engine.tokenize(CAPITAL);
      expect(on.steps.slice(before).every(({ phase, tokens }) => phase === "prefill" && tokens <= 64)).toBe(true);
      expect(on.steps.length - seen).toBeLessThanOrEqual(2);
      // All of it would have been a dozen batches.
      expect((await on.engine.tokenize(turns)).length).toBeGreaterThan(700);
    });

    test("keeps the beginnings of prompts when the context is built anew in another size", async () => {
      const { engine, spec } = await realEngine(file ?? "", { contextTokens: 1024 });
      const turns: Turn[] = [
        { role: "system", text: "You are a helpful assistant. Answer in one short sentence." },
        { role: "user", text: "What is the capital of France?" },
      ];
      try {
        const first = await write(engine, jobOf(turns, { maxTokens: 8 }));
        for (const contextTokens of [512, 2048]) {
          expect(await engine.load({ ...spec, contextTokens })).toMatchObject({ contextTokens });
          const again = await write(engine, jobOf(turns, { maxTokens: 8 }));
          expect(again.texts.join("")).toBe(first.texts.join(""));
          expect(again.end.usage.cachedTokens).toBe(again.end.usage.promptTokens - 1);
        }
        await engine.load({ ...spec, sequences: 2 });
        const anew = await write(engine, jobOf(turns, { maxTokens: 8 }));
        expect([anew.texts.join(""), anew.end.usage.cachedTokens]).toEqual([first.texts.join(""), 0]);
      } finally {
        await engine.stop();
      }
    });

    test("reports every batch with its threads", async () => {
      on.engine.setThreads({ prefill: 2, decode: 1 });
      await write(
        on.engine,
        jobOf([{ role: "user", text: `Read this: ${"one two three ".repeat(40)}` }], { maxTokens: 4 }),
      );
      const recent = on.steps.slice(-5);
      expect(recent.filter(({ phase }) => phase === "decode").every(({ threads }) => threads === 1)).toBe(true);
      expect(on.steps.filter(({ phase }) => phase === "prefill").at(-1)).toMatchObject({ threads: 2 });
      expect(recent.every(({ ms }) => ms > 0)).toBe(true);
      on.engine.setThreads({ prefill: 1, decode: 1 });
    });

    test("survives a SIGTERM to the whole process group, which its parent decides about", async () => {
      const { pid } = on.engine.status;
      process.kill(pid ?? 0, "SIGTERM");
      expect((await write(on.engine, jobOf(CAPITAL))).texts.join("")).toContain("Paris");
      expect(on.engine.status).toMatchObject({ pid, deaths: 0 });
    });

    test("writes other scripts without broken characters, and pieces join to what was written at once", async () => {
      const turns: Turn[] = [{ role: "user", text: "Repeat exactly: héllo wörld 👩‍👩‍👧 你好" }];
      const { texts } = await write(on.engine, jobOf(turns, { maxTokens: 60 }));
      expect(texts.join("")).not.toContain("\uFFFD");
      expect(texts.join("")).toBe(texts.join("").trim());
    });

    test("reads conversations token for token as the reference does", async () => {
      for (const { name, turns, ids } of chatReference["smollm2"]?.cases ?? []) {
        expect({ name, ids: await on.engine.tokenize(turns) }).toEqual({ name, ids });
      }
    });

    test("never reads a control token out of what people write", async () => {
      const control = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<file_sep>", "<jupyter_text>"];
      const word = fc.constantFrom(...control, "hello", " ", "\n", "system", "<|", "im_end|>", "é", "42", "<", ">");
      const text = fc.array(word, { minLength: 1, maxLength: 12 }).map((words) => words.join(""));
      const template = [1, 2, 1, 2, 1];
      await fc.assert(
        fc.asyncProperty(text, text, async (system, question) => {
          const turns: Turn[] = [
            { role: "system", text: system },
            { role: "user", text: question },
          ];
          const ids = await on.engine.tokenize(turns);
          // SmolLM2 keeps its control tokens below 17.
          expect(ids.filter((id) => id < 17)).toEqual(template);
        }),
        { numRuns: 60 },
      );
    });

    test("scores labels as the whole table of probabilities says", async () => {
      // "living room" is the beginning of another label in tokens too.
      const candidates = ["on", "only", "living room", "living room light"];
      const turns: Turn[] = [
        { role: "system", text: `Answer with one label. Labels: ${candidates.join(", ")}.` },
        { role: "user", text: "switch it on" },
      ];
      const { logProbabilities } = await on.engine.score({ id: "s", turns, candidates });
      const expected = await tableScores(file ?? "", await on.engine.tokenize(turns), candidates);
      for (const [index, { sum, tokens }] of logProbabilities.entries()) {
        expect(tokens).toBe(expected[index]?.tokens);
        expect(sum).toBeCloseTo(expected[index]?.sum ?? NaN, 1);
      }
    });

    test("tells a label from a longer one that begins with it", async () => {
      const candidates = ["living room", "living room light"];
      const score = async (text: string) => {
        const turns: Turn[] = [
          { role: "system", text: "Repeat what the user says and nothing else." },
          { role: "user", text },
        ];
        const { logProbabilities } = await on.engine.score({ id: "s", turns, candidates });
        return (logProbabilities[1]?.sum ?? NaN) - (logProbabilities[0]?.sum ?? NaN);
      };
      expect(await score("living room light")).toBeGreaterThan(0);
      expect(await score("living room")).toBeLessThan(0);
    });

    test("tells it on a page of plain text too, where a line ends the label", async () => {
      const candidates = [" living room", " living room light"];
      const score = async (text: string) => {
        const shown = ["kitchen", "kitchen light", "hall", "hall light"];
        const page = [...shown.map((label) => `Echo: ${label}\nLabel: ${label}\n\n`), `Echo: ${text}\nLabel:`].join("");
        const { logProbabilities } = await on.engine.score({ id: "s", turns: page, candidates });
        return (logProbabilities[1]?.sum ?? NaN) - (logProbabilities[0]?.sum ?? NaN);
      };
      expect(await score("living room light")).toBeGreaterThan(0);
      expect(await score("living room")).toBeLessThan(0);
    });

    test("scores the same labels alike in any order and next to any others", async () => {
      const score = (candidates: string[]) => on.engine.score({ id: "s", turns: CAPITAL, candidates });
      const one = (await score(["Paris", "Rome", "Berlin"])).logProbabilities;
      const other = (await score(["Berlin", "Lyon", "Paris"])).logProbabilities;
      expect(other[2]?.sum).toBeCloseTo(one[0]?.sum ?? NaN, 2);
      expect(other[0]?.sum).toBeCloseTo(one[2]?.sum ?? NaN, 2);
    });
  });

  describe("with several sequences", () => {
    test("gives each question the sequence that remembers most of its prompt", async () => {
      const { engine } = await realEngine(file ?? "", { sequences: 2, contextTokens: 256 });
      try {
        const ask = async (system: string, text: string) => {
          const turns: Turn[] = [
            { role: "system", text: system },
            { role: "user", text },
          ];
          return (await write(engine, jobOf(turns, { maxTokens: 2 }))).end.usage;
        };
        const kitchen = "You answer questions about the kitchen. Be brief and polite.";
        const garden = "Garden questions only. Speak like a gardener of many years.";
        await ask(kitchen, "How long do eggs boil?");
        await ask(garden, "When do I sow peas?");
        expect((await ask(kitchen, "How hot is an oven?")).cachedTokens).toBeGreaterThan(10);
        expect((await ask(garden, "When do I cut roses?")).cachedTokens).toBeGreaterThan(10);
      } finally {
        await engine.stop();
      }
    });
  });
});

/** Log-probabilities of the candidates from the model's whole next-token table, the slow and plain way. */
async function tableScores(path: string, prompt: number[], candidates: string[]) {
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1, logLevel: LlamaLogLevel.error });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0, ignoreMemorySafetyChecks: true });
  const context = await model.createContext({ contextSize: 512, batchSize: 64, ignoreMemorySafetyChecks: true });
  try {
    const sequence = context.getSequence();
    const paths = candidates.map((text) => model.tokenize(text, false, "trimLeadingSpace"));
    const isBeginning = (one: Token[]) =>
      paths.some((other) => other.length > one.length && one.every((token, index) => other[index] === token));
    const scores: { sum: number; tokens: number }[] = [];
    for (const own of paths) {
      // <|endoftext|> and <|im_end|>: either ends an answer.
      const whole = isBeginning(own)
        ? [...own.map((token) => [token]), [0, 2] as Token[]]
        : own.map((token) => [token]);
      let sum = 0;
      for (const [depth, either] of whole.entries()) {
        const read = [...(prompt as Token[]), ...own.slice(0, depth)];
        await sequence.eraseContextTokenRanges([{ start: 0, end: sequence.nextTokenIndex }]);
        const input = read.map((one, index) =>
          index < read.length - 1 ? one : ([one, { generateNext: { logits: true } }] as [Token, object]),
        );
        const output = await sequence.controlledEvaluate(input);
        const logits = output.at(-1)?.next?.logits ?? new Map<Token, number>();
        expect(logits.size).toBe(49_152);
        const weights = (tokens: Iterable<Token>) =>
          [...tokens].reduce((total, token) => total + Math.exp(logits.get(token) ?? NaN), 0);
        sum += Math.log(weights(either) / weights(logits.keys()));
      }
      scores.push({ sum, tokens: whole.length });
    }
    return scores;
  } finally {
    await context.dispose();
    await model.dispose();
  }
}
