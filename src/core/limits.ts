// What one sender, and all senders of one route together, may take: questions and tokens a minute, open questions and their
// bytes. Rates are token buckets that hold a minute's worth; each is one number, the time at which it is full again.
import { RequestError } from "./errors.ts";
import { LruMap } from "./lru.ts";
import type { Question } from "./request.ts";

const MINUTE_MS = 60_000;
/** Rounding must not refuse the last question of a minute. */
const EPSILON_MS = 1e-6;
/** Buckets remembered: the one untouched for longest is forgotten, which fills it again. */
const MOST_BUCKETS = 4096;

/** Token buckets by name. */
export class Buckets {
  readonly #fullAtMs = new LruMap<string, number>(MOST_BUCKETS);

  get size(): number {
    return this.#fullAtMs.size;
  }

  /** Milliseconds until `cost` can be had; 0 is now. A cost above a whole minute's worth needs a full bucket. */
  waitMs(name: string, cost: number, perMinute: number, nowMs: number): number {
    const owedMs = Math.max(0, (this.#fullAtMs.get(name) ?? 0) - nowMs);
    const overMs = owedMs + Math.min(MINUTE_MS, (cost * MINUTE_MS) / perMinute) - MINUTE_MS;
    return overMs <= EPSILON_MS ? 0 : overMs;
  }

  /** Takes `cost`, into debt if need be; a negative cost gives back. */
  spend(name: string, cost: number, perMinute: number, nowMs: number): void {
    const fullAtMs = Math.max(nowMs, this.#fullAtMs.get(name) ?? 0);
    this.#fullAtMs.set(name, fullAtMs + (cost * MINUTE_MS) / perMinute);
  }
}

/** The rates of every sender and route. */
export class Rates {
  readonly #buckets = new Buckets();

  get size(): number {
    return this.#buckets.size;
  }

  /** The refusal of a question whose sender or route is over a rate, with the time after which it would be taken. */
  fault(question: Question, tokens: number, nowMs: number): RequestError | undefined {
    for (const { name, cost, perMinute, words } of costsOf(question, 1, tokens)) {
      const waitMs = this.#buckets.waitMs(name, cost, perMinute, nowMs);
      if (waitMs > 0) return rateLimited(`${perMinute} ${words}`, waitMs);
    }
    return undefined;
  }

  /** `questions` is 1 when a question is taken; its tokens are an estimate then, and corrected later. */
  spend(question: Question, questions: -1 | 0 | 1, tokens: number, nowMs: number): void {
    for (const { name, cost, perMinute } of costsOf(question, questions, tokens)) {
      this.#buckets.spend(name, cost, perMinute, nowMs);
    }
  }
}

interface Cost {
  name: string;
  cost: number;
  perMinute: number;
  words: string;
}

function costsOf({ route, sender }: Question, questions: number, tokens: number): Cost[] {
  const scopes = [
    { name: `${route.name} s ${sender}`, limits: route.senderLimits, who: `each sender of route ${route.name}` },
    { name: `${route.name} r`, limits: route.limits, who: `route ${route.name}` },
  ];
  return scopes
    .flatMap(({ name, limits, who }) => [
      {
        name: `q ${name}`,
        cost: questions,
        perMinute: limits.questionsPerMinute,
        words: `questions a minute for ${who}`,
      },
      { name: `t ${name}`, cost: tokens, perMinute: limits.tokensPerMinute, words: `tokens a minute for ${who}` },
    ])
    .filter(({ cost, perMinute }) => perMinute > 0 && cost !== 0);
}

/** The refusal of a question whose sender or route has too many open ones. `aboutMs` is the time that one of them takes. */
export function openFault(question: Question, open: readonly Question[], aboutMs: number): RequestError | undefined {
  const { route, sender } = question;
  const ofRoute = open.filter((other) => other.route.name === route.name);
  const ofSender = ofRoute.filter((other) => other.sender === sender);
  const bytes = ofSender.reduce((sum, other) => sum + other.bytes, question.bytes);
  const { senderLimits, limits } = route;
  const each = `each sender of route ${route.name}`;
  const rules: [count: number, limit: number, words: string][] = [
    [ofSender.length + 1, senderLimits.openQuestions, `open questions for ${each}`],
    [bytes, senderLimits.openBytes, `bytes of open questions for ${each}`],
    [ofRoute.length + 1, limits.openQuestions, `open questions for route ${route.name}`],
  ];
  const broken = rules.find(([count, limit]) => limit > 0 && count > limit);
  return broken && rateLimited(`${broken[1]} ${broken[2]}`, Math.max(100, aboutMs));
}

function rateLimited(limit: string, waitMs: number): RequestError {
  const message = `over the limit of ${limit}; try again in ${(waitMs / 1000).toFixed(1)} s`;
  return new RequestError("rate_limited", message, { retryAfterMs: Math.ceil(waitMs) });
}
