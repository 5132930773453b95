// `classify` by a generative model: the log-probability of each label after a static prefix, its preference taken away.
import { PipitError, RequestError } from "../core/errors.ts";
import { contentFreeTexts, labelCandidates, labelPage, type LabelPrompt } from "../core/label-prompt.ts";
import { contentFreePrior, decide, type DecisionRule, LabelPrior, softmax } from "../core/labels.ts";
import type { Engine, Scores, Usage } from "../core/ports.ts";
import type { Classification } from "../core/reply.ts";

/** Label sets whose prior is remembered; a request may bring its own labels, so there may be many. */
const MOST_PRIORS = 32;

export interface DecoderVerdict extends Classification {
  usage: Usage;
  prefillMs: number;
}

export class DecoderClassifier {
  readonly #engine: Pick<Engine, "score">;
  /** By the text of the whole prompt; the least recently used first. A promise, so that two first texts share the work. */
  #priors = new Map<string, Promise<LabelPrior>>();

  constructor(engine: Pick<Engine, "score">) {
    this.#engine = engine;
  }

  async classify(prompt: LabelPrompt, text: string, rule: DecisionRule, signal: AbortSignal): Promise<DecoderVerdict> {
    if (prompt.labels.length === 0) {
      throw new RequestError("bad_request", "labels is empty: neither the request nor the route names any");
    }
    const prior = await this.#priorOf(prompt, signal);
    const scores = await this.#score(prompt, text, signal);
    const names = prompt.labels.map(({ name }) => name);
    const decision = decide(names, softmax(prior.calibrate(scores.logProbabilities)), rule);
    prior.observe(scores.logProbabilities);
    const { label, confidence, margin, probabilities } = decision;
    return {
      label,
      confidence,
      margin,
      probabilities,
      by: "decoder",
      usage: scores.usage,
      prefillMs: scores.prefillMs,
    };
  }

  /** The model may have changed: what it prefers must be measured again. */
  forget(): void {
    this.#priors.clear();
  }

  /** The prior of these labels, measured once for all who ask at the same time. */
  async #priorOf(prompt: LabelPrompt, signal: AbortSignal): Promise<LabelPrior> {
    const key = JSON.stringify([prompt.system, prompt.labels, prompt.examples]);
    for (;;) {
      const known = this.#priors.get(key);
      const prior = known ?? this.#measurePrior(prompt, signal);
      this.#remember(key, prior);
      try {
        return await prior;
      } catch (error) {
        if (this.#priors.get(key) === prior) this.#priors.delete(key);
        // Whoever began measuring was cancelled, which is nothing to those who waited for it.
        if (known === undefined || signal.aborted || !isAbort(error)) throw error;
      }
    }
  }

  #remember(key: string, prior: Promise<LabelPrior>): void {
    this.#priors.delete(key);
    this.#priors.set(key, prior);
    const oldest = this.#priors.keys().next().value;
    if (this.#priors.size > MOST_PRIORS && oldest !== undefined) this.#priors.delete(oldest);
  }

  async #measurePrior(prompt: LabelPrompt, signal: AbortSignal): Promise<LabelPrior> {
    const rows: Scores["logProbabilities"][] = [];
    for (const text of contentFreeTexts(prompt)) rows.push((await this.#score(prompt, text, signal)).logProbabilities);
    return new LabelPrior(contentFreePrior(rows));
  }

  #score(prompt: LabelPrompt, text: string, signal: AbortSignal): Promise<Scores> {
    const candidates = labelCandidates(prompt.labels);
    return this.#engine.score({ id: text.slice(0, 20), turns: labelPage(prompt, text), candidates }, signal);
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof PipitError && error.code === "aborted";
}
