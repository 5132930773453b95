// What the sequences of a context hold, carried over into a context of another size: the beginnings of prompts, which would
// have to be read again. By way of files, because the library has no other; bounded, because memory may be what is short.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LlamaContextSequence } from "node-llama-cpp";

/** System texts and examples are shorter; of a long conversation this is the beginning. 12 MB with SmolLM2 135M. */
const MOST_TOKENS = 512;

export interface SequenceStates {
  /** Loads them into as many sequences as there are. */
  restore(sequences: readonly LlamaContextSequence[]): Promise<void>;
  remove(): void;
}

/**
 * @param sequences all of the context, the least recently used first. A context with another number of them does not take their
 * states (`n_stream mismatch` of llama.cpp): nothing is saved for it.
 */
export async function saveStates(
  sequences: readonly LlamaContextSequence[],
  next: { sequences: number; contextTokens: number },
): Promise<SequenceStates> {
  const directory = mkdtempSync(join(tmpdir(), "pipit-states-"));
  const files: string[] = [];
  const remove = () => rmSync(directory, { recursive: true, force: true });
  try {
    for (const sequence of next.sequences === sequences.length ? sequences : []) {
      const most = Math.min(MOST_TOKENS, Math.floor(next.contextTokens / 2));
      if (sequence.nextTokenIndex > most) {
        await sequence.eraseContextTokenRanges([{ start: most, end: sequence.nextTokenIndex }]);
      }
      if (sequence.nextTokenIndex === 0) continue;
      const file = join(directory, `${files.length}`);
      await sequence.saveStateToFile(file);
      files.push(file);
    }
  } catch {
    // A full disk, a model that cannot forget its end: what is not saved is read again.
  }
  return {
    remove,
    async restore(into) {
      for (const [index, file] of files.entries()) {
        const sequence = into[into.length - files.length + index];
        // Written by this very process from this very model a moment ago. What is not taken is read again.
        await sequence?.loadStateFromFile(file, { acceptRisk: true }).catch(() => {});
      }
    },
  };
}
