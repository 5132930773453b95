// The payload of a request as fields: plain text, or a JSON object whose fields are read one by one with their types checked.
// Every refusal names the field, what is allowed and what was given.
import { RequestError } from "./errors.ts";

export type Fields = Readonly<Record<string, unknown>>;

/** Throws RequestError: `too_large`, `bad_request`. */
export function readFields(payload: Uint8Array, maxPayloadBytes: number): Fields {
  if (payload.length > maxPayloadBytes) {
    throw new RequestError("too_large", `payload is ${payload.length} bytes, the limit is ${maxPayloadBytes}`);
  }
  const text = decodeUtf8(payload);
  if (text.trim().length === 0) throw new RequestError("bad_request", "payload is empty");
  if (!text.trimStart().startsWith("{")) return { text };
  return parseObject(text);
}

function decodeUtf8(payload: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch (cause) {
    throw new RequestError("bad_request", "payload is not valid UTF-8", { cause });
  }
}

/** A payload that begins with `{` is a JSON request: a broken one is refused, never taken for plain text. */
function parseObject(text: string): Fields {
  try {
    return JSON.parse(text) as Fields;
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new RequestError("bad_request", `payload begins with { but is not JSON: ${detail}`, { cause });
  }
}

export function optionalString(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined;
  throw new RequestError("bad_request", `${name} must be a string, got ${describe(value)}`);
}

export function optionalBoolean(fields: Fields, name: string): boolean | undefined {
  const value = fields[name];
  if (value === undefined || value === null || typeof value === "boolean") return value ?? undefined;
  throw new RequestError("bad_request", `${name} must be true or false, got ${describe(value)}`);
}

export function optionalNumber(fields: Fields, name: string, least: number, most: number): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw new RequestError("bad_request", `${name} must be a number from ${least} to ${most}, got ${describe(value)}`);
  }
  return value;
}

export function optionalInteger(fields: Fields, name: string, least: number, most: number): number | undefined {
  const value = optionalNumber(fields, name, least, most);
  if (value !== undefined && !Number.isInteger(value)) {
    throw new RequestError("bad_request", `${name} must be a whole number, got ${value}`);
  }
  return value;
}

export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  return typeof value === "object" ? "an object" : String(value);
}
