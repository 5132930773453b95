// `…/feedback`: people say what the right label was. `{id, label}` is about an earlier reply, `{text, label}` about any
// text. Each becomes an example and the head is trained anew, within a rate: one careless or hostile sender must not turn
// a classifier over before somebody looks. Predictions and corrections side by side give the rolling accuracy.
import { RequestError, toError } from "../core/errors.ts";
import { LruMap } from "../core/lru.ts";
import type { IncomingMessage } from "../core/message.ts";
import type { Clock, Logger } from "../core/ports.ts";
import { describe, optionalString } from "../core/request-fields.ts";
import type { Classifiers } from "./classifiers.ts";

/** Replies whose id can still be corrected. */
const REMEMBERED = 2000;
/** Verdicts that the rolling accuracy looks back on. */
const WINDOW = 200;
const HOUR_MS = 3_600_000;
const MAX_PAYLOAD_BYTES = 65_536;

export interface FeedbackOptions {
  /** Examples a classifier accepts within an hour; more are refused with `rate_limited`. */
  mostPerHour: number;
}

export interface RollingAccuracy {
  classifier: string;
  /** Corrections and confirmations counted, at most the window. */
  judged: number;
  accuracy: number;
}

export interface FeedbackResult {
  classifier: string;
  label: string;
  /** What had been answered. */
  predicted: string | null;
  /** Version of the head that has learnt it, or that stays. */
  version: number;
  /** Not by a head that came with its model: it is only measured. */
  learnt: boolean;
  rolling: RollingAccuracy;
}

interface Remembered {
  classifier: string;
  text: string;
  /** The labels of a `multi` classifier joined by ", ". */
  predicted: string | null;
}

export class Feedback {
  readonly #classifiers: Classifiers;
  readonly #options: FeedbackOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #replies = new LruMap<string, Remembered>(REMEMBERED);
  /** Monotonic times of accepted examples, by classifier. */
  readonly #accepted = new Map<string, number[]>();
  readonly #judged = new Map<string, boolean[]>();

  constructor(classifiers: Classifiers, options: FeedbackOptions, clock: Clock, log: Logger) {
    this.#classifiers = classifiers;
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
  }

  /** Notes what was answered, so that `{id, label}` can be understood later. */
  remember(id: string, answered: Remembered): void {
    this.#replies.set(id, answered);
  }

  /** Learns from one message. Throws RequestError `bad_request` or `rate_limited`. */
  async handle({ payload }: Pick<IncomingMessage, "payload">, signal: AbortSignal): Promise<FeedbackResult> {
    const fields = readFields(payload);
    const labels = labelsOf(fields["label"]);
    const about = await this.#about(fields, signal);
    const trained = this.#classifiers.named(about.classifier);
    const { kind, labels: known } = trained.definition;
    const foreign = labels.find((label) => !known.some(({ name }) => name === label));
    if (foreign !== undefined || (kind !== "multi" && labels.length !== 1)) {
      const takes = `${kind === "multi" ? "any" : "one"} of ${known.map(({ name }) => name).join(", ")}`;
      const got = foreign === undefined ? `a list of ${labels.length}` : describe(foreign);
      throw new RequestError("bad_request", `label is ${got}, ${about.classifier} takes ${takes}`);
    }
    this.#admit(about.classifier);
    const label = labels.join(", ");
    const rolling = this.#judge(about.classifier, about.predicted === label);
    const learnt = !trained.isFixed;
    if (learnt) await trained.learn([{ text: about.text, labels }], signal);
    const { version } = trained;
    const { classifier, predicted } = about;
    this.#log.info({ classifier, label, predicted, version, learnt }, "feedback");
    return { classifier, label, predicted, version, learnt, rolling };
  }

  rolling(): RollingAccuracy[] {
    return [...this.#judged.keys()].map((classifier) => this.#rollingOf(classifier));
  }

  async #about(fields: Record<string, unknown>, signal: AbortSignal): Promise<Remembered> {
    const [id, text, classifier] = ["id", "text", "classifier"].map((field) => optionalString(fields, field));
    if (id !== undefined) {
      const found = this.#replies.get(id);
      if (found) return found;
      if (text === undefined)
        throw new RequestError("bad_request", `id ${describe(id)} is of no reply that is remembered`);
    }
    if (text === undefined || text.trim() === "") throw new RequestError("bad_request", "needs `id` or `text`");
    const [only, ...more] = this.#classifiers.names;
    const name = classifier ?? (more.length === 0 ? only : undefined);
    if (name === undefined) throw new RequestError("bad_request", "needs `classifier`: there is not exactly one");
    const { label, labels } = await this.#classifiers.classify({ classifier: name, text }, signal);
    return { classifier: name, text, predicted: labels?.join(", ") ?? label };
  }

  #admit(classifier: string): void {
    const nowMs = this.#clock.nowMs();
    const recent = (this.#accepted.get(classifier) ?? []).filter((atMs) => nowMs - atMs < HOUR_MS);
    const { mostPerHour } = this.#options;
    if (recent.length >= mostPerHour) {
      const retryAfterMs = HOUR_MS - (nowMs - (recent[0] ?? nowMs));
      const message = `classifier ${classifier} has taken ${recent.length} examples within an hour, the most is ${mostPerHour}`;
      throw new RequestError("rate_limited", message, { retryAfterMs });
    }
    this.#accepted.set(classifier, [...recent, nowMs]);
  }

  #judge(classifier: string, right: boolean): RollingAccuracy {
    const judged = [...(this.#judged.get(classifier) ?? []), right].slice(-WINDOW);
    this.#judged.set(classifier, judged);
    return this.#rollingOf(classifier);
  }

  #rollingOf(classifier: string): RollingAccuracy {
    const judged = this.#judged.get(classifier) ?? [];
    const right = judged.filter(Boolean).length;
    return { classifier, judged: judged.length, accuracy: judged.length === 0 ? 0 : right / judged.length };
  }
}

function readFields(payload: Uint8Array): Record<string, unknown> {
  if (payload.length > MAX_PAYLOAD_BYTES) {
    throw new RequestError("too_large", `payload is ${payload.length} bytes, the limit is ${MAX_PAYLOAD_BYTES}`);
  }
  if (payload.length === 0) throw new RequestError("bad_request", "the payload is empty");
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (thrown) {
    throw new RequestError("bad_request", `the payload is not JSON: ${toError(thrown).message}`, { cause: thrown });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new RequestError("bad_request", "the payload is not a JSON object");
  }
  return value as Record<string, unknown>;
}

function labelsOf(label: unknown): string[] {
  if (typeof label === "string") return [label];
  if (Array.isArray(label) && label.every((part) => typeof part === "string")) return [...new Set(label)];
  const takes = "a label, or a list of labels of a multi classifier";
  throw new RequestError("bad_request", `label must be ${takes}, got ${describe(label)}`);
}
