// Hands out the context's sequences. A question gets a free one that remembers its prompt, so that the static beginning of a
// route (system text, examples) is read once and not for every question.
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

  /** Those that nobody uses, the least recently used first. */
  get free(): readonly LlamaContextSequence[] {
    return this.#free;
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

  /**
   * The one that remembers most of the prompt, if that is at least half of it. Otherwise the least recently used: a few
   * tokens that all prompts begin with are not worth the memory of another route, and each route finds its own in time.
   */
  #takeBest(tokens: readonly Token[]): LlamaContextSequence | undefined {
    const sharedBy = (sequence: LlamaContextSequence) => sequence.compareContextTokens([...tokens]).firstDifferentIndex;
    const shared = this.#free.map(sharedBy);
    const most = Math.max(...shared);
    const taken = this.#free[2 * most >= tokens.length ? shared.indexOf(most) : 0];
    this.#free = this.#free.filter((sequence) => sequence !== taken);
    return taken;
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
