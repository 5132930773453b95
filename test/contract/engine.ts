// What every engine owes its caller, with or without a real model behind it. Run for the fake and for the child process.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Engine, GenerateJob, ModelSpec, Piece, Turn } from "../../src/core/ports.ts";
import { READOUT_DIMENSIONS } from "../../src/core/readout.ts";

export interface EngineUnderTest {
  engine: Engine;
  spec: ModelSpec;
  /** The model's process dies now. */
  kill: () => void;
}

export const SYSTEM = "You are a helpful assistant. Answer in one short sentence.";
export const CAPITAL: Turn[] = [
  { role: "system", text: SYSTEM },
  { role: "user", text: "What is the capital of France?" },
];

export function jobOf(turns: Turn[], more: Partial<GenerateJob> = {}): GenerateJob {
  return { id: "q", turns, maxTokens: 48, temperature: 0, ...more };
}

export interface Written {
  texts: string[];
  end: Extract<Piece, { kind: "end" }>;
}

export async function write(engine: Engine, job: GenerateJob, signal?: AbortSignal): Promise<Written> {
  const texts: string[] = [];
  for await (const piece of engine.generate(job, signal)) {
    if (piece.kind === "end") return { texts, end: piece };
    texts.push(piece.text);
  }
  throw new Error("no end");
}

/** `make` gives an engine that is started, with a decoder of 512 tokens loaded. */
export function engineContract(name: string, make: () => Promise<EngineUnderTest>): void {
  describe(`${name} as an engine`, () => {
    let under: EngineUnderTest;
    beforeAll(async () => {
      under = await make();
    });
    afterAll(() => under.engine.stop());

    test("answers in pieces, none empty, the end last, and counts tokens", async () => {
      const { texts, end } = await write(under.engine, jobOf(CAPITAL));
      expect(texts.join("")).toContain("Paris");
      expect(texts.length).toBeGreaterThan(1);
      expect(texts).not.toContain("");
      expect(end.finish).toBe("stop");
      expect(end.usage.promptTokens).toBeGreaterThan(10);
      expect(end.usage.completionTokens).toBeGreaterThanOrEqual(texts.length);
    });

    test("ends at the limit of tokens and says so", async () => {
      const { end } = await write(under.engine, jobOf(CAPITAL, { maxTokens: 2 }));
      expect(end).toMatchObject({ finish: "length", usage: { completionTokens: 2 } });
    });

    test("remembers the prompt it has in common with the last one", async () => {
      const [system] = CAPITAL as [Turn];
      await write(under.engine, jobOf(CAPITAL));
      const turns: Turn[] = [system, { role: "user", text: "Name a colour." }];
      const { end } = await write(under.engine, jobOf(turns, { maxTokens: 2 }));
      const prefix = SYSTEM.split(" ").length;
      expect(end.usage.cachedTokens).toBeGreaterThanOrEqual(prefix);
      expect(end.usage.cachedTokens).toBeLessThan(end.usage.promptTokens);
    });

    test("leaves at least one token to read even for the very same prompt", async () => {
      const first = await write(under.engine, jobOf(CAPITAL, { maxTokens: 2 }));
      const again = await write(under.engine, jobOf(CAPITAL, { maxTokens: 2 }));
      expect(again.texts).toEqual(first.texts);
      expect(again.end.usage.cachedTokens).toBe(again.end.usage.promptTokens - 1);
    });

    test("stops when asked to, and answers the next question", async () => {
      const controller = new AbortController();
      const cancelled = (async () => {
        for await (const piece of under.engine.generate(jobOf(CAPITAL), controller.signal)) {
          expect(piece.kind).toBe("text");
          controller.abort(new Error("enough"));
        }
      })();
      await expect(cancelled).rejects.toMatchObject({ kind: "transient", code: "aborted" });
      expect((await write(under.engine, jobOf(CAPITAL))).texts.join("")).toContain("Paris");
    });

    test("begins nothing for a signal that has fired", async () => {
      const late = AbortSignal.abort(new Error("late"));
      await expect(write(under.engine, jobOf(CAPITAL), late)).rejects.toMatchObject({ code: "aborted" });
      const score = under.engine.score({ id: "s", turns: CAPITAL, candidates: ["a"] }, late);
      await expect(score).rejects.toMatchObject({ code: "aborted" });
    });

    test("refuses a prompt that does not fit instead of cutting it", async () => {
      const turns: Turn[] = [{ role: "user", text: "word ".repeat(600) }];
      const refused = expect.objectContaining({ kind: "request", code: "too_long" });
      await expect(write(under.engine, jobOf(turns))).rejects.toEqual(refused);
      await expect(under.engine.score({ id: "s", turns, candidates: ["a"] })).rejects.toEqual(refused);
    });

    test("scores candidates in their order, with the tokens they take", async () => {
      const candidates = ["light", "a long label of many words", "heating"];
      const { logProbabilities, usage } = await under.engine.score({ id: "s", turns: CAPITAL, candidates });
      expect(logProbabilities).toHaveLength(3);
      for (const { sum } of logProbabilities) expect(sum).toBeLessThan(0);
      const [short, long] = logProbabilities.map(({ tokens }) => tokens);
      expect(long).toBeGreaterThan(short ?? 0);
      expect(usage.completionTokens).toBe(0);
    });

    test("reads pages as vectors: equal ones alike, others otherwise, none too long", async () => {
      const pages = ["The lamp is on", "Bread and milk", "The lamp is on"];
      const { vectors, tokens } = await under.engine.readout(pages);
      expect(vectors.map(({ length }) => length)).toEqual(pages.map(() => READOUT_DIMENSIONS));
      for (const [index, value] of vectors[0]!.entries()) expect(vectors[2]![index]).toBeCloseTo(value, 3);
      expect(vectors[1]).not.toEqual(vectors[0]);
      expect(tokens[0]).toBeGreaterThanOrEqual(4);
      const long = under.engine.readout(["word ".repeat(600)]);
      await expect(long).rejects.toMatchObject({ kind: "request", code: "too_long" });
    });

    test("reads the same turns as the same tokens, other turns as others", async () => {
      const once = await under.engine.tokenize(CAPITAL);
      expect(once.length).toBeGreaterThan(10);
      expect(await under.engine.tokenize(CAPITAL)).toEqual(once);
      expect(await under.engine.tokenize(CAPITAL.slice(1))).not.toEqual(once);
    });

    test("takes other threads at any time and measures itself", async () => {
      under.engine.setThreads({ prefill: 1, decode: 1 });
      const { memory } = await under.engine.measure();
      expect(memory.rssBytes).toBeGreaterThan(0);
      expect(memory.anonymousBytes + memory.fileBytes).toBeLessThanOrEqual(memory.rssBytes * 1.01);
    });

    test("says that no encoder is loaded instead of making a vector up", async () => {
      await expect(under.engine.embed(["a"])).rejects.toMatchObject({ code: "model_unavailable" });
    });

    test("answers several questions at once, each its own", async () => {
      const asked = [1, 2, 3].map((id) => write(under.engine, jobOf(CAPITAL, { id: `${id}` })));
      for (const { texts } of await Promise.all(asked)) expect(texts.join("")).toContain("Paris");
    });

    test("loses the question in flight when its process dies, and nothing else", async () => {
      const { deaths } = under.engine.status;
      const lost = (async () => {
        for await (const piece of under.engine.generate(jobOf(CAPITAL))) if (piece.kind === "text") under.kill();
      })();
      await expect(lost).rejects.toMatchObject({ kind: "transient", code: "engine_died" });
      expect((await write(under.engine, jobOf(CAPITAL))).texts.join("")).toContain("Paris");
      expect(under.engine.status).toMatchObject({ state: "ready", deaths: deaths + 1 });
    });

    test("without its model says so, and works again once it is loaded", async () => {
      await under.engine.unload("decoder");
      await expect(write(under.engine, jobOf(CAPITAL))).rejects.toMatchObject({ code: "model_unavailable" });
      const fractions: number[] = [];
      const model = await under.engine.load(under.spec, (fraction) => fractions.push(fraction));
      expect(model).toMatchObject({ name: under.spec.name, kind: "decoder", contextTokens: 512 });
      expect(fractions.at(-1)).toBe(1);
      expect((await write(under.engine, jobOf(CAPITAL))).texts.join("")).toContain("Paris");
    });

    test("stops twice without harm and rejects what comes later", async () => {
      await under.engine.stop();
      await under.engine.stop();
      expect(under.engine.status.state).toBe("stopped");
      await expect(write(under.engine, jobOf(CAPITAL))).rejects.toMatchObject({ kind: "transient" });
    });
  });
}
