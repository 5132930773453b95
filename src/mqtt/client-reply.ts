// What an agent answers, as the asker sees it: the JSON of the wire contract (design.md §2), read from an MQTT message.
import { PipitError } from "../core/errors.ts";
import type { IncomingMessage } from "../core/message.ts";

export interface ReplyReceipt {
  id: string;
  status: "ok";
  model: string;
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number };
  timing_ms: { queue: number; prefill: number; generate: number; total: number };
  /** What the board had to give: threads, context tokens, model rung, and the reason in words. */
  plan: Record<string, unknown> & { reason: string };
}

export interface AnswerReply extends ReplyReceipt {
  task: "answer";
  text: string;
  /** `length`: the answer was cut at the most tokens allowed. */
  finish: "stop" | "length";
}

export interface LabelReply extends ReplyReceipt {
  task: "classify";
  /** Null when the classifier abstains. */
  label: string | null;
  confidence: number;
  probabilities: Record<string, number>;
  by: string;
  margin?: number;
  nearest?: { text: string; label: string; similarity: number };
}

export interface RecordReply extends ReplyReceipt {
  task: "extract";
  record: unknown;
  finish: "stop" | "length";
}

export interface ErrorReplyJson {
  id: string;
  status: "error";
  task?: string;
  error: { code: string; message: string; retry_after_ms?: number };
}

export type ReplyJson = AnswerReply | LabelReply | RecordReply | ErrorReplyJson;

/** The agent has refused or failed: `code` is one of `bad_request`, `too_large`, `busy`, `expired`, `cancelled`, … */
export class ReplyError extends PipitError {
  readonly reply: ErrorReplyJson;

  constructor(reply: ErrorReplyJson) {
    const { code, message, retry_after_ms: retryAfterMs } = reply.error;
    super("request", code, message, retryAfterMs === undefined ? {} : { retryAfterMs });
    this.reply = reply;
  }
}

export interface PartialJson {
  id: string;
  seq: number;
  text: string;
  final: boolean;
}

/** The question a message belongs to: MQTT 5 correlation data, else the `id` of its JSON. */
export function idOf(message: IncomingMessage, json: Record<string, unknown> | undefined): string | undefined {
  if (message.correlationData !== undefined) return new TextDecoder().decode(message.correlationData);
  const id = json?.["id"];
  return typeof id === "string" ? id : undefined;
}

export function jsonOf(message: IncomingMessage): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(message.payload));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** A reply in either form: the JSON as it is; a bare text (`reply_form: text`) as the part of one that it stands for. */
export function replyOf(message: IncomingMessage, json: Record<string, unknown> | undefined, id: string): ReplyJson {
  if (json?.["status"] === "ok" || json?.["status"] === "error") return json as unknown as ReplyJson;
  const text = new TextDecoder().decode(message.payload);
  const code = message.userProperties?.["code"] ?? /^error: (\w+): /.exec(text)?.[1];
  if (typeof code === "string") {
    return { id, status: "error", error: { code, message: text.replace(/^error: \w+: /, "") } };
  }
  return { id, status: "ok", task: "answer", text, label: text } as unknown as ReplyJson;
}

export function partialOf(json: Record<string, unknown> | undefined): PartialJson | undefined {
  const fits = typeof json?.["seq"] === "number" && typeof json["text"] === "string";
  return fits ? (json as unknown as PartialJson) : undefined;
}
