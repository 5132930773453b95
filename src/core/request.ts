// From an MQTT message to a question: what was asked, who wants the answer and by when. Pure; every refusal is a RequestError.
import { RequestError } from "./errors.ts";
import { checkLabels } from "./labels.ts";
import { type IncomingMessage, messageBytes } from "./message.ts";
import {
  describe,
  type Fields,
  optionalBoolean,
  optionalInteger,
  optionalNumber,
  optionalString,
  readFields,
} from "./request-fields.ts";
import { questionKey, type RequestLimits, returnAddress } from "./return-address.ts";
import type { Label, Route } from "./route.ts";
import { senderOf } from "./sender.ts";

/** Everything that work on one question needs to know; the route's settings overlaid with what the request asked for. */
export interface Question {
  id: string;
  /** The id is the agent's own: the sender gave neither one nor correlation data. */
  unnamed: boolean;
  /** Identity for de-duplication: correlation data or id, apart for each reply topic. */
  key: string;
  route: Route;
  /** Who asks, for limits and turns; see sender.ts. */
  sender: string;
  /** Bytes of the message: what the question holds in memory and on disk. */
  bytes: number;
  text: string;
  /** More about the text that the model shall read before it. */
  context: string | undefined;
  replyTopic: string;
  correlationData: Uint8Array | undefined;
  session: string | undefined;
  maxTokens: number;
  temperature: number;
  stream: boolean;
  priority: number;
  labels: Label[];
  /** A classification shall also say which example was nearest. */
  explain: boolean;
  /** JSON schema the record of `extract` must obey. */
  schema: unknown;
  /** Monotonic clock. */
  arrivedMs: number;
  deadlineMs: number;
  /** Monotonic time at which the asker's message expiry ends, if it set one; the reply carries what is left. */
  expiresMs: number | undefined;
  /** Keys of the request that nobody knows; ignored, but worth a line in the debug log. */
  unknownFields: string[];
}

/**
 * Reads a request. Throws RequestError: `bad_request`, `too_large`, `too_long`, `not_allowed`, `expired`.
 * `makeId` names a request that brought neither correlation data nor `id`.
 */
export function parseRequest(
  message: IncomingMessage,
  route: Route,
  limits: RequestLimits,
  makeId: () => string,
): Question {
  const fields = readFields(message.payload, route.maxPayloadBytes);
  const address = returnAddress(message, route, fields, limits, makeId);
  const text = textOf(fields, route);
  const { deadlineMs, priority, maxTokens, temperature } = boundsOf(fields, message, route);
  return {
    ...address,
    key: questionKey(address, message),
    route,
    sender: senderOf(route.sender, message, route.filter, address.replyTopic),
    bytes: messageBytes(message),
    text,
    context: optionalString(fields, "context"),
    session: sessionOf(fields),
    maxTokens,
    temperature,
    stream: optionalBoolean(fields, "stream") ?? false,
    priority,
    labels: labelsOf(fields["labels"]) ?? route.labels,
    explain: optionalBoolean(fields, "explain") ?? false,
    schema: fields["schema"],
    arrivedMs: message.arrivedMs,
    deadlineMs,
    expiresMs: message.expirySeconds === undefined ? undefined : message.arrivedMs + message.expirySeconds * 1000,
    unknownFields: Object.keys(fields).filter((name) => !KNOWN_FIELDS.has(name)),
  };
}

const MAX_SESSION_CHARACTERS = 128;

const KNOWN_FIELDS = new Set([
  "text",
  "id",
  "reply_to",
  "session",
  "deadline_ms",
  "max_tokens",
  "temperature",
  "stream",
  "priority",
  "labels",
  "schema",
  "explain",
  "context",
]);

/** A character that is more than space, control or invisible formatting: NUL and zero-width spaces ask nothing. */
const READABLE = /[^\s\p{Cc}\p{Cf}]/u;

function textOf(fields: Fields, route: Route): string {
  const text = fields["text"];
  if (typeof text !== "string") {
    throw new RequestError("bad_request", `text must be a string, got ${describe(text)}`);
  }
  if (!READABLE.test(text)) throw new RequestError("bad_request", "text is empty");
  if (text.length > route.maxTextCharacters) {
    throw new RequestError(
      "too_long",
      `text has ${text.length} characters, the limit is ${route.maxTextCharacters}; nothing is cut silently`,
    );
  }
  return text;
}

function sessionOf(fields: Fields): string | undefined {
  const session = optionalString(fields, "session");
  if (session === undefined || (session.length > 0 && session.length <= MAX_SESSION_CHARACTERS)) return session;
  const allowed = `1 to ${MAX_SESSION_CHARACTERS} are allowed`;
  throw new RequestError("bad_request", `session has ${session.length} characters, ${allowed}`);
}

function boundsOf(fields: Fields, message: IncomingMessage, route: Route) {
  const asked = optionalNumber(fields, "deadline_ms", 0, 86_400_000);
  const expiryMs = message.expirySeconds === undefined ? Infinity : message.expirySeconds * 1000;
  const remainingMs = Math.min(asked ?? Infinity, expiryMs, route.deadlineMs);
  if (remainingMs <= 0) throw new RequestError("expired", "the deadline had passed before the question arrived");
  return {
    deadlineMs: message.arrivedMs + remainingMs,
    priority: optionalInteger(fields, "priority", 0, 9) ?? route.priority,
    maxTokens: Math.min(optionalInteger(fields, "max_tokens", 1, 1_000_000) ?? route.maxTokens, route.maxTokens),
    temperature: optionalNumber(fields, "temperature", 0, 5) ?? route.temperature,
  };
}

/** Labels of a request: names, or `{name, description}`. */
function labelsOf(value: unknown): Label[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new RequestError("bad_request", `labels must be a list, got ${describe(value)}`);
  const labels = value.map(labelOf);
  checkLabels(labels);
  return labels;
}

function labelOf(entry: unknown, index: number): Label {
  if (typeof entry === "string") return { name: entry };
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) {
    throw new RequestError("bad_request", `labels[${index}] must be a string, got ${describe(entry)}`);
  }
  const { name, description } = entry as Fields;
  if (typeof name !== "string") {
    throw new RequestError("bad_request", `labels[${index}].name must be a string, got ${describe(name)}`);
  }
  if (description === undefined || description === null) return { name };
  if (typeof description === "string") return { name, description };
  throw new RequestError("bad_request", `labels[${index}].description must be a string, got ${describe(description)}`);
}
