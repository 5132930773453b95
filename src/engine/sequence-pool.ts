// Hands out the context's sequences. A question gets the free one that remembers most of its prompt, so that the static
// beginning of a route (system text, examples) is read once and not for every question.
import type { LlamaContextSequence, Token } from "node-llama-cpp";

interface Waiter {
  tokens: readonly Token[];
  take: (sequence: LlamaContextSequence) => void;
}

export class SequencePool {
  /** Free sequences, the least recently used first. */
  #free: LlamaContextSequence[];
  /** First come, first served. */
  #waiting: Waiter[] = [];

  constructor(sequences: readonly LlamaContextSequence[]) {
    this.#free = [...sequences];
  }

  /** Runs `use` with a sequence of its own; waits while all are taken. Rejects with the signal's reason while waiting. */
  async with<Result>(
    tokens: readonly Token[],
    signal: AbortSignal,
    use: (sequence: LlamaContextSequence) => Promise<Result>,
  ): Promise<Result> {
    const sequence = this.#takeBest(tokens) ?? (await this.#wait(tokens, signal));
    try {
      return await use(sequence);
    } finally {
      this.#release(sequence);
    }
  }

  #takeBest(tokens: readonly Token[]): LlamaContextSequence | undefined {
    let best: LlamaContextSequence | undefined;
    let bestShared = -1;
    for (const sequence of this.#free) {
      const shared = sequence.compareContextTokens([...tokens]).firstDifferentIndex;
      // A strict comparison leaves ties to the least recently used, whose memory is the least worth.
      if (shared > bestShared) [best, bestShared] = [sequence, shared];
    }
    if (best !== undefined) this.#free = this.#free.filter((sequence) => sequence !== best);
    return best;
  }

  #wait(tokens: readonly Token[], signal: AbortSignal): Promise<LlamaContextSequence> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        reject(signal.reason as Error);
      };
      const waiter: Waiter = {
        tokens,
        take: (sequence) => {
          signal.removeEventListener("abort", onAbort);
          resolve(sequence);
        },
      };
      if (signal.aborted) return onAbort();
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #release(sequence: LlamaContextSequence): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(sequence);
    else next.take(sequence);
  }
}
