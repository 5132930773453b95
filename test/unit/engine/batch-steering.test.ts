import type { BatchItem, Llama } from "node-llama-cpp";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Step } from "../../../src/core/ports.ts";
import { BatchSteering } from "../../../src/engine/batch-steering.ts";
import { FakeClock } from "../../fakes/clock.ts";

function steering(threads = { prefill: 4, decode: 2 }) {
  const llama = { maxThreads: 8 };
  const steps: Step[] = [];
  const clock = new FakeClock();
  const batches = new BatchSteering(llama as Llama, threads, (step) => steps.push(step), clock);
  /** One batch that writes a token and takes so long; returns the threads it ran on. */
  const write = (ms: number) => {
    batches.prioritize({ items: [item(1)], size: 64 });
    clock.advance(ms);
    batches.batchEnded();
    return llama.maxThreads;
  };
  return { llama, steps, clock, batches, write };
}

const item = (tokens: number): BatchItem => ({
  tokens: Array.from({ length: tokens }, (_, index) => index) as unknown as BatchItem["tokens"],
  logits: [],
  evaluationPriority: 5,
});

describe("steering between batches", () => {
  test("sets the threads of the phase just before a batch", () => {
    const { llama, batches } = steering();
    batches.prioritize({ items: [item(30)], size: 64 });
    expect(llama.maxThreads).toBe(4);
    batches.prioritize({ items: [item(1), item(1)], size: 64 });
    expect(llama.maxThreads).toBe(2);
    batches.setThreads({ prefill: 3, decode: 1 });
    expect(llama.maxThreads).toBe(2);
    batches.prioritize({ items: [item(1)], size: 64 });
    expect(llama.maxThreads).toBe(1);
  });

  test("reports each batch once, whoever sees its end first", () => {
    const { batches, steps } = steering();
    batches.batchEnded();
    batches.prioritize({ items: [item(30)], size: 64 });
    batches.batchEnded();
    batches.batchEnded();
    batches.prioritize({ items: [item(1)], size: 64 });
    batches.prioritize({ items: [item(1)], size: 64 });
    expect(steps.map(({ phase, tokens, threads }) => [phase, tokens, threads])).toEqual([
      ["prefill", 30, 4],
      ["decode", 1, 2],
    ]);
  });

  test("drops to one thread after a single step that collided, for a second", () => {
    const { clock, write } = steering();
    for (let token = 0; token < 10; token++) expect(write(10)).toBe(2);
    expect(write(400)).toBe(2);
    expect(write(15)).toBe(1);
    clock.advance(900);
    expect(write(100)).toBe(1);
    expect(write(10)).toBe(2);
  });

  test("takes no step for a collision that is only a little slow, or slow on one thread", () => {
    const two = steering();
    for (let token = 0; token < 10; token++) two.write(10);
    two.write(25);
    expect(two.write(10)).toBe(2);
    const one = steering({ prefill: 1, decode: 1 });
    for (let token = 0; token < 10; token++) one.write(10);
    one.write(400);
    expect(one.write(10)).toBe(1);
  });

  test("rests as long as the batches took where courtesy asks for it, in pieces that a timer can keep", async () => {
    const { batches, clock, write } = steering();
    batches.setThreads({ prefill: 1, decode: 1 }, 1);
    write(3);
    await batches.rest();
    write(4);
    let rested = false;
    const rest = batches.rest().then(() => (rested = true));
    clock.advance(6);
    await Promise.resolve();
    expect(rested).toBe(false);
    clock.advance(1);
    await rest;
    batches.setThreads({ prefill: 1, decode: 1 }, 0);
    write(100);
    await batches.rest();
    expect(clock.pending).toBe(0);
  });

  test("encodes one text on every core, and leaves one core to those who bring the next ones", async () => {
    const { llama, batches } = steering({ prefill: 4, decode: 2 });
    const ends: (() => void)[] = [];
    const encode = () => batches.encoding(() => new Promise<void>((resolve) => ends.push(resolve)));
    const first = encode();
    expect(llama.maxThreads).toBe(4);
    const second = encode();
    expect(llama.maxThreads).toBe(3);
    ends.forEach((end) => end());
    await Promise.all([first, second]);
    void encode();
    expect(llama.maxThreads).toBe(4);
    batches.setThreads({ prefill: 1, decode: 1 });
    void encode();
    expect(llama.maxThreads).toBe(1);
  });

  test("an encoding that fails no longer counts as one under way", async () => {
    const { llama, batches } = steering({ prefill: 2, decode: 2 });
    await expect(batches.encoding(() => Promise.reject(new Error("no memory")))).rejects.toThrow("no memory");
    void batches.encoding(() => Promise.resolve());
    expect(llama.maxThreads).toBe(2);
  });

  test("lets a short question go on beside a long prompt", () => {
    const { batches } = steering();
    const chosen = batches.prioritize({ items: [item(500), item(1)], size: 64 });
    expect(chosen.map(({ processAmount }) => processAmount)).toEqual([63, 1]);
  });

  test("fills the batch and never overfills it, and starves nobody who fits", () => {
    const tokens = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(tokens, fc.integer({ min: 8, max: 512 }), (counts, size) => {
        const items = counts.map(item);
        const chosen = steering().batches.prioritize({ items, size });
        const used = chosen.reduce((sum, { processAmount }) => sum + processAmount, 0);
        const wanted = counts.reduce((sum, count) => sum + count, 0);
        expect(used).toBe(Math.min(size, wanted));
        expect(chosen.map((entry) => entry.item)).toEqual(items);
        for (const { item: one, processAmount } of chosen) {
          expect(processAmount).toBeGreaterThan(0);
          expect(processAmount).toBeLessThanOrEqual(one.tokens.length);
        }
      }),
    );
  });
});
