import type { LlamaContextSequence, Token } from "node-llama-cpp";
import { describe, expect, test } from "vitest";
import { SequencePool } from "../../../src/engine/sequence-pool.ts";
import { drain, Gate } from "../../fixtures/pipeline-agent.ts";

/** A sequence that remembers the tokens it was last used for. */
class FakeSequence {
  remembered: readonly Token[] = [];
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  compareContextTokens(tokens: readonly Token[]): { firstDifferentIndex: number } {
    const differs = tokens.findIndex((token, index) => token !== this.remembered[index]);
    return { firstDifferentIndex: differs < 0 ? tokens.length : differs };
  }
}

const never = new AbortController().signal;
const tokensOf = (text: string): Token[] => Array.from(text, (character) => character.charCodeAt(0) as Token);

function pool(size: number) {
  const sequences = Array.from({ length: size }, (_, index) => new FakeSequence("abcd".charAt(index)));
  const under = new SequencePool(sequences as unknown as LlamaContextSequence[]);
  const use = (text: string, hold: () => Promise<void> = () => Promise.resolve(), signal = never): Promise<string> =>
    under.with(tokensOf(text), signal, async (sequence) => {
      const taken = sequence as unknown as FakeSequence;
      await hold();
      taken.remembered = tokensOf(text);
      return taken.name;
    });
  return { use };
}

describe("the pool of sequences", () => {
  test("gives a prompt the sequence that remembers it", async () => {
    const { use } = pool(2);
    const kitchen = await use("<system kitchen> eggs?");
    const garden = await use("<system garden> peas?");
    expect(kitchen).not.toBe(garden);
    expect(await use("<system kitchen> oven?")).toBe(kitchen);
    expect(await use("<system garden> roses?")).toBe(garden);
    expect(await use("<system kitchen> tea?")).toBe(kitchen);
  });

  test("does not overwrite a route for the few tokens that all prompts begin with", async () => {
    const { use } = pool(2);
    expect(await use("<system a long text of one route>")).toBe("a");
    expect(await use("<system quite another text than that>")).toBe("b");
  });

  test("gives a new prompt the one that was used longest ago", async () => {
    const { use } = pool(3);
    for (const prompt of ["1111", "2222", "3333", "1111"]) await use(prompt);
    expect(await use("4444")).toBe("b");
    expect(await use("5555")).toBe("c");
  });

  test("lets who comes too many wait, first come first served", async () => {
    const { use } = pool(1);
    const [first, second, third] = [new Gate(), new Gate(), new Gate()];
    const order: number[] = [];
    const all = [first, second, third].map((gate, index) =>
      use("x", async () => {
        order.push(index);
        await gate.enter();
      }),
    );
    await drain();
    expect(order).toEqual([0]);
    first.open();
    await drain();
    expect(order).toEqual([0, 1]);
    second.open();
    third.open();
    await Promise.all(all);
    expect(order).toEqual([0, 1, 2]);
  });

  test("lets go who is cancelled while waiting, and nobody behind it is lost", async () => {
    const { use } = pool(1);
    const gate = new Gate();
    const running = use("x", gate.enter);
    const controller = new AbortController();
    const cancelled = use("x", undefined, controller.signal);
    const waiting = use("x");
    controller.abort(new Error("enough"));
    await expect(cancelled).rejects.toThrow("enough");
    gate.open();
    expect(await running).toBe("a");
    expect(await waiting).toBe("a");
  });

  test("gets a sequence back when its use fails", async () => {
    const { use } = pool(1);
    await expect(use("x", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await use("x")).toBe("a");
  });
});
