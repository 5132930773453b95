// The one error class. `kind` decides what happens next, `code` is what people and programs test on.

/**
 * - `config`: the user must change something; exit 78, the service manager does not restart.
 * - `transient`: worth repeating, after `retryAfterMs` where it is given.
 * - `request`: the sender is told, the agent goes on.
 * - `bug`: ours; exit 70.
 */
export type ErrorKind = "config" | "transient" | "request" | "bug";

/** Codes of an error reply on the wire (design.md §2). */
export const REPLY_ERROR_CODES = [
  "bad_request",
  "too_large",
  "too_long",
  "not_allowed",
  "rate_limited",
  "busy",
  "expired",
  "cancelled",
  "model_unavailable",
  "failed",
] as const;
export type ReplyErrorCode = (typeof REPLY_ERROR_CODES)[number];

export interface PipitErrorOptions {
  cause?: unknown;
  retryAfterMs?: number;
}

export class PipitError extends Error {
  override readonly name = "PipitError";
  readonly kind: ErrorKind;
  readonly code: string;
  readonly retryAfterMs: number | undefined;

  constructor(kind: ErrorKind, code: string, message: string, options: PipitErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** An error that is answered to the sender of a question. */
export class RequestError extends PipitError {
  declare readonly code: ReplyErrorCode;

  constructor(code: ReplyErrorCode, message: string, options: PipitErrorOptions = {}) {
    super("request", code, message, options);
  }
}

/** Whatever was thrown, as an Error: strings and objects thrown by libraries keep their text. */
export function toError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  return new Error(typeof thrown === "string" ? thrown : JSON.stringify(thrown));
}
