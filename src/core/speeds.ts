// What this board has been doing lately, so that a question that cannot be answered in time is refused at once and with
// an estimate instead of after a long silence. Exponentially weighted means; the first measurement counts in full.
import type { Usage } from "./ports.ts";
import type { Question } from "./request.ts";

const NEWEST_WEIGHT = 0.2;
/** Characters of English text a token stands for, before anything was measured. */
const CHARACTERS_A_TOKEN = 4;

export class Speeds {
  #prefillMsPerToken: number | undefined;
  #decodeMsPerToken: number | undefined;
  /** Tokens an answer of a route really has, by route name: most are far shorter than their limit. */
  #answerTokens = new Map<string, number>();

  get prefillTokensPerSecond(): number | undefined {
    return this.#prefillMsPerToken && 1000 / this.#prefillMsPerToken;
  }

  get decodeTokensPerSecond(): number | undefined {
    return this.#decodeMsPerToken && 1000 / this.#decodeMsPerToken;
  }

  observe(routeName: string, usage: Usage, prefillMs: number, generateMs: number): void {
    const read = usage.promptTokens - usage.cachedTokens;
    // A single token is a decode step in disguise, not a prefill.
    if (read >= 8) this.#prefillMsPerToken = blend(this.#prefillMsPerToken, prefillMs / read);
    // The first token comes out of the prefill.
    const written = usage.completionTokens - 1;
    if (written >= 1) this.#decodeMsPerToken = blend(this.#decodeMsPerToken, generateMs / written);
    this.#answerTokens.set(routeName, blend(this.#answerTokens.get(routeName), usage.completionTokens));
  }

  /** Milliseconds of engine time the question will take; 0 while nothing is known, which admits it. */
  estimateMs(question: Question): number {
    const promptTokens = question.text.length / CHARACTERS_A_TOKEN;
    const usualTokens = this.#answerTokens.get(question.route.name) ?? 0;
    const answerTokens = Math.min(question.maxTokens, usualTokens);
    return promptTokens * (this.#prefillMsPerToken ?? 0) + answerTokens * (this.#decodeMsPerToken ?? 0);
  }
}

function blend(mean: number | undefined, newest: number): number {
  return mean === undefined ? newest : mean + NEWEST_WEIGHT * (newest - mean);
}
