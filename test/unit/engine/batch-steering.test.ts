import type { BatchItem, Llama } from "node-llama-cpp";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Step } from "../../../src/core/ports.ts";
import { BatchSteering } from "../../../src/engine/batch-steering.ts";

function steering(threads = { prefill: 4, decode: 2 }) {
  const llama = { maxThreads: 8 };
  const steps: Step[] = [];
  return { llama, steps, batches: new BatchSteering(llama as Llama, threads, (step) => steps.push(step)) };
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
