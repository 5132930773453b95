// From a result to the bytes on the wire (design.md §2). Every accepted question gets exactly one of these.
import { PipitError, type ReplyErrorCode, RequestError, toError } from "./errors.ts";
import type { OutgoingMessage } from "./message.ts";
import type { Plan } from "./plan.ts";
import type { Finish, Usage } from "./ports.ts";
import { partialTopic, type ReturnAddress } from "./return-address.ts";
import type { Route, Task } from "./route.ts";
import type { SessionNote } from "./session.ts";

export interface Timing {
  queueMs: number;
  prefillMs: number;
  generateMs: number;
  totalMs: number;
}

/** Which path of classification decided. */
export type ClassifiedBy = "head" | "examples" | "decoder" | "cache";

/** What a classification found; `label` is null when the classifier abstains. */
export interface Classification {
  label: string | null;
  confidence: number;
  probabilities: Record<string, number>;
  by: ClassifiedBy;
  /** Distance to the second best label. */
  margin?: number;
  nearest?: { text: string; label: string; similarity: number };
  /** All labels that hold, of a classifier that gives several. */
  labels?: string[];
  /** Only the beginning of the text was read, as the route allows. */
  truncated?: boolean;
  /** Which classifier answered, and which version of what it has learnt; 0 is nothing. */
  classifier?: string;
  version?: number;
}

interface Receipt {
  model: string;
  usage: Usage;
  timing: Timing;
  plan: Plan;
}

export type Reply =
  | ({ status: "ok"; task: "answer"; text: string; finish: Finish; session?: SessionNote } & Receipt)
  | ({ status: "ok"; task: "classify" } & Classification & Receipt)
  | ({ status: "ok"; task: "extract"; record: unknown; finish: Finish } & Receipt)
  | { status: "error"; task: Task; code: ReplyErrorCode; message: string; retryAfterMs?: number };

export type ErrorReply = Extract<Reply, { status: "error" }>;

/** Whoever is answered, and in what form. */
export interface Addressee extends ReturnAddress {
  route: Route;
  /** Monotonic time at which what the asker wanted loses its worth, if it said so. */
  expiresMs: number | undefined;
}

/** The reply to whatever went wrong: what the sender is to blame for by its code, everything else as `failed`. */
export function errorReply(thrown: unknown, task: Task): ErrorReply {
  const error = toError(thrown);
  if (error instanceof RequestError) {
    const { code, message, retryAfterMs } = error;
    return { status: "error", task, code, message, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  const unavailable = error instanceof PipitError && error.code === "model_unavailable";
  return { status: "error", task, code: unavailable ? "model_unavailable" : "failed", message: error.message };
}

/** The final reply as an MQTT message. In text form an error is `error: <code>: <message>`. */
export function replyTo(addressee: Addressee, reply: Reply, nowMs: number): OutgoingMessage {
  const { id, replyTopic, correlationData, expiresMs, route } = addressee;
  const json = route.replyForm === "json";
  const payload = json ? JSON.stringify(replyJson(id, reply)) : replyText(reply);
  return {
    topic: replyTopic,
    payload: new TextEncoder().encode(payload),
    contentType: json ? "application/json" : "text/plain; charset=utf-8",
    text: true,
    ...(correlationData && { correlationData }),
    // An expiry of 0 would be "never" to some brokers; the last second is given in full.
    ...(expiresMs !== undefined && { expirySeconds: Math.max(1, Math.ceil((expiresMs - nowMs) / 1000)) }),
    ...(reply.status === "error" && { userProperties: { status: "error", code: reply.code } }),
  };
}

/** In the place of a reply that cannot be sent as it is. Made of the reply itself, which outlives its question. */
export function failedInstead(reply: OutgoingMessage, message: string): OutgoingMessage {
  const json = reply.contentType === "application/json";
  const { id, task } = (json ? JSON.parse(new TextDecoder().decode(reply.payload)) : {}) as { id: string; task: Task };
  const failed = { status: "error", task, code: "failed", message } as const;
  return {
    ...reply,
    payload: new TextEncoder().encode(json ? JSON.stringify(replyJson(id, failed)) : replyText(failed)),
    userProperties: { status: failed.status, code: failed.code },
  };
}

/**
 * A streamed piece; `seq` counts from 0, the last one has `final`. The pieces of one id join to the text of the reply. A
 * `seq` of 0 begins anew: the model's process has died, and the answer is written from the start.
 */
export function partialMessage(address: ReturnAddress, seq: number, text: string, final: boolean): OutgoingMessage {
  return {
    topic: partialTopic(address.replyTopic),
    payload: new TextEncoder().encode(JSON.stringify({ id: address.id, seq, text, final })),
    contentType: "application/json",
    text: true,
    ...(address.correlationData && { correlationData: address.correlationData }),
  };
}

export function planJson(plan: Plan) {
  return {
    threads: plan.threads.decode,
    threads_prefill: plan.threads.prefill,
    context_tokens: plan.contextTokens,
    batch_tokens: plan.batchTokens,
    sequences: plan.sequences,
    model_rung: plan.modelRung,
    model_reason: plan.modelReason,
    reason: plan.reason,
  };
}

function replyJson(id: string, reply: Reply): object {
  if (reply.status === "error") {
    const retry = reply.retryAfterMs === undefined ? {} : { retry_after_ms: Math.round(reply.retryAfterMs) };
    return { id, status: "error", task: reply.task, error: { code: reply.code, message: reply.message, ...retry } };
  }
  return { id, status: "ok", task: reply.task, ...resultJson(reply), ...receiptJson(reply) };
}

function resultJson(reply: Extract<Reply, { status: "ok" }>): object {
  switch (reply.task) {
    case "answer":
      return { text: reply.text, finish: reply.finish, ...(reply.session && { session: reply.session }) };
    case "extract":
      return { record: reply.record, finish: reply.finish };
    case "classify":
      return {
        label: reply.label,
        confidence: round(reply.confidence, 4),
        probabilities: Object.fromEntries(
          Object.entries(reply.probabilities).map(([label, probability]) => [label, round(probability, 4)]),
        ),
        ...(reply.margin !== undefined && { margin: round(reply.margin, 4) }),
        by: reply.by,
        ...(reply.labels && { labels: reply.labels }),
        ...(reply.truncated === true && { truncated: true }),
        ...(reply.classifier !== undefined && { classifier: reply.classifier, version: reply.version }),
        ...(reply.nearest && { nearest: reply.nearest }),
      };
  }
}

function receiptJson({ model, usage, timing, plan }: Receipt): object {
  return {
    model,
    usage: {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
    },
    timing_ms: {
      queue: round(timing.queueMs, 1),
      prefill: round(timing.prefillMs, 1),
      generate: round(timing.generateMs, 1),
      total: round(timing.totalMs, 1),
    },
    plan: planJson(plan),
  };
}

function replyText(reply: Reply): string {
  if (reply.status === "error") return `error: ${reply.code}: ${reply.message}`;
  switch (reply.task) {
    case "answer":
      return reply.text;
    case "extract":
      return JSON.stringify(reply.record);
    case "classify":
      return reply.label ?? "";
  }
}

function round(value: number, digits: number): number {
  const scale = 10 ** digits;
  return Math.round(value * scale) / scale;
}
