// How long questions take on this board: what was calibrated for the threads of the moment, times how far reality has been
// off lately. So a question that cannot be answered in time is refused at once and with an estimate, the first one too.
// Exponentially weighted means; the first measurement counts in full.
import type { Usage } from "./ports.ts";
import type { Question } from "./request.ts";
import type { Task } from "./route.ts";
import type { Phase } from "./speed-curve.ts";

const NEWEST_WEIGHT = 0.2;
/** Characters of English text a token stands for, before anything was measured. */
const CHARACTERS_A_TOKEN = 4;
/** Length of an answer of a route that has given none yet. */
const GUESSED_TOKENS = 32;

/** Calibrated milliseconds a token of the decoder with the threads of the moment; undefined before a calibration. */
export type ExpectedMs = (phase: Phase) => number | undefined;

interface Pace {
  msPerToken: number;
  /** Measured time over calibrated time. */
  slowdown: number | undefined;
}

export class Speeds {
  readonly #expectedMs: ExpectedMs;
  /** By task and phase: a text is classified by another model than it is answered by. */
  #paces = new Map<string, Pace>();
  /** Tokens an answer of a route really has, by route name: most are far shorter than their limit. */
  #answerTokens = new Map<string, number>();

  constructor(expectedMs: ExpectedMs = () => undefined) {
    this.#expectedMs = expectedMs;
  }

  /** Of answers, as measured; undefined before the first. */
  get prefillTokensPerSecond(): number | undefined {
    return perSecond(this.#paces.get("answer prefill"));
  }

  get decodeTokensPerSecond(): number | undefined {
    return perSecond(this.#paces.get("answer decode"));
  }

  observe({ name, task }: { name: string; task: Task }, usage: Usage, prefillMs: number, generateMs: number): void {
    const read = usage.promptTokens - usage.cachedTokens;
    // A single token is a decode step in disguise, not a prefill.
    if (read >= 8) this.#note(task, "prefill", prefillMs / read);
    // The first token comes out of the prefill.
    const written = usage.completionTokens - 1;
    if (written >= 1) this.#note(task, "decode", generateMs / written);
    this.#answerTokens.set(name, blend(this.#answerTokens.get(name), usage.completionTokens));
  }

  /** Milliseconds of engine time the question will take; 0 while nothing is known, which admits it. */
  estimateMs(question: Question): number {
    const { task } = question.route;
    const answer = this.#answerTokensOf(question);
    return promptTokens(question) * this.#msPerToken(task, "prefill") + answer * this.#msPerToken(task, "decode");
  }

  /** Tokens the question will have read and written, by what is known before it is answered. */
  estimateTokens(question: Question): number {
    return Math.ceil(promptTokens(question) + this.#answerTokensOf(question));
  }

  #answerTokensOf({ route, maxTokens }: Question): number {
    const usual = this.#answerTokens.get(route.name) ?? (route.task === "classify" ? 0 : GUESSED_TOKENS);
    return Math.min(maxTokens, usual);
  }

  #note(task: Task, phase: Phase, msPerToken: number): void {
    const before = this.#paces.get(`${task} ${phase}`);
    const expected = this.#expected(task, phase);
    const slowdown = expected === undefined ? before?.slowdown : blend(before?.slowdown, msPerToken / expected);
    this.#paces.set(`${task} ${phase}`, { msPerToken: blend(before?.msPerToken, msPerToken), slowdown });
  }

  #msPerToken(task: Task, phase: Phase): number {
    const pace = this.#paces.get(`${task} ${phase}`);
    const expected = this.#expected(task, phase);
    if (expected === undefined) return pace?.msPerToken ?? 0;
    return pace !== undefined && pace.slowdown === undefined ? pace.msPerToken : expected * (pace?.slowdown ?? 1);
  }

  /** The calibration is the decoder's; texts are classified by the encoder as a rule. */
  #expected(task: Task, phase: Phase): number | undefined {
    return task === "classify" ? undefined : this.#expectedMs(phase);
  }
}

function promptTokens({ text, context }: Question): number {
  return (text.length + (context?.length ?? 0)) / CHARACTERS_A_TOKEN;
}

function perSecond(pace: Pace | undefined): number | undefined {
  return pace && 1000 / pace.msPerToken;
}

function blend(mean: number | undefined, newest: number): number {
  return mean === undefined ? newest : mean + NEWEST_WEIGHT * (newest - mean);
}
