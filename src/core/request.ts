// From an MQTT message to a question: what was asked, who wants the answer and by when. Pure; every refusal is a RequestError.
import { RequestError } from "./errors.ts";
import { checkLabels } from "./labels.ts";
import type { IncomingMessage } from "./message.ts";
import type { Label, Route } from "./route.ts";
import { fillTemplate, matchFilter, topicFault } from "./topics.ts";

/** Everything that work on one question needs to know; the route's settings overlaid with what the request asked for. */
export interface Question {
  id: string;
  /** Identity for de-duplication: correlation data or id, apart for each reply topic. */
  key: string;
  route: Route;
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

/** Where a reply goes even if the request turns out to be bad, and what it carries. */
export interface ReturnAddress {
  id: string;
  replyTopic: string;
  correlationData: Uint8Array | undefined;
}

export interface RequestLimits {
  maxPayloadBytes: number;
  /** Topics the agent itself listens on: a reply there would be a loop. */
  ownFilters: readonly string[];
}

const MAX_ID_CHARACTERS = 128;

type Fields = Record<string, unknown>;

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
  const fields = readFields(message, limits.maxPayloadBytes);
  const address = returnAddress(message, route, fields, limits, makeId);
  const text = textOf(fields, route);
  const { deadlineMs, priority, maxTokens, temperature } = boundsOf(fields, message, route);
  return {
    ...address,
    key: questionKey(address, message),
    route,
    text,
    context: optionalString(fields, "context"),
    session: optionalString(fields, "session"),
    maxTokens,
    temperature,
    stream: optionalBoolean(fields, "stream") ?? false,
    priority,
    labels: fields["labels"] === undefined ? route.labels : labelsOf(fields["labels"]),
    schema: fields["schema"],
    arrivedMs: message.arrivedMs,
    deadlineMs,
    expiresMs: message.expirySeconds === undefined ? undefined : message.arrivedMs + message.expirySeconds * 1000,
    unknownFields: Object.keys(fields).filter((name) => !KNOWN_FIELDS.has(name)),
  };
}

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
  "context",
]);

/**
 * The address to answer a message whose request is bad: as much of it as can be read. Undefined when the reply topic
 * itself is what is wrong, because then there is nowhere to answer but the route's own topic.
 */
export function returnAddressOfBadRequest(
  message: IncomingMessage,
  route: Route,
  limits: RequestLimits,
  makeId: () => string,
): ReturnAddress {
  let fields: Fields = {};
  try {
    fields = readFields(message, limits.maxPayloadBytes);
    return returnAddress(message, route, fields, limits, makeId);
  } catch {
    const id = typeof fields["id"] === "string" ? fields["id"].slice(0, MAX_ID_CHARACTERS) : makeId();
    const asked = message.responseTopic;
    const allowed = asked !== undefined && replyTopicFault(asked, route, limits) === undefined;
    return {
      id,
      replyTopic: allowed ? asked : routeReplyTopic(message, route),
      correlationData: message.correlationData,
    };
  }
}

/**
 * De-duplication identity: what the asker chose, for this reply topic and these very bytes. The bytes count because many
 * askers number their questions from 1 again after a restart; a repeat of the same question has the same bytes.
 */
export function questionKey(address: ReturnAddress, message: IncomingMessage): string {
  const own = address.correlationData ? `c:${hex(address.correlationData)}` : `i:${address.id}`;
  return `${message.topic} ${address.replyTopic} ${own} ${digest(message.payload)}`;
}

/** Two FNV-1a hashes of 32 bits: enough to tell the payloads of one id apart, no secret depends on it. */
function digest(bytes: Uint8Array): string {
  return [0x811c9dc5, 0x01000193]
    .map((start) => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, start))
    .map((hash) => hash.toString(16).padStart(8, "0"))
    .join("");
}

function readFields(message: IncomingMessage, maxPayloadBytes: number): Fields {
  const { payload } = message;
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

function returnAddress(
  message: IncomingMessage,
  route: Route,
  fields: Fields,
  limits: RequestLimits,
  makeId: () => string,
): ReturnAddress {
  const given = optionalString(fields, "id");
  if (given !== undefined && (given.length === 0 || given.length > MAX_ID_CHARACTERS)) {
    throw new RequestError("bad_request", `id has ${given.length} characters, 1 to ${MAX_ID_CHARACTERS} are allowed`);
  }
  const asked = message.responseTopic ?? optionalString(fields, "reply_to");
  if (asked !== undefined) {
    const fault = replyTopicFault(asked, route, limits);
    if (fault) throw new RequestError("not_allowed", `reply topic ${JSON.stringify(asked)} ${fault}`);
  }
  return {
    id: given ?? idFromCorrelation(message.correlationData) ?? makeId(),
    replyTopic: asked ?? routeReplyTopic(message, route),
    correlationData: message.correlationData,
  };
}

/** Correlation data that is short printable text serves as the id too, so that logs and JSON replies show what was sent. */
function idFromCorrelation(data: Uint8Array | undefined): string | undefined {
  if (data === undefined || data.length === 0 || data.length > MAX_ID_CHARACTERS) return undefined;
  const printable = data.every((byte) => byte >= 0x20 && byte < 0x7f);
  return printable ? String.fromCharCode(...data) : hex(data);
}

function routeReplyTopic(message: IncomingMessage, route: Route): string {
  return fillTemplate(route.replyTopic, matchFilter(route.filter, message.topic) ?? []);
}

function replyTopicFault(topic: string, route: Route, limits: RequestLimits): string | undefined {
  const fault = topicFault(topic);
  if (fault) return fault;
  if (limits.ownFilters.some((filter) => matchFilter(filter, topic))) return "is a request topic of this agent";
  if (!route.allowReplyTo.some((filter) => matchFilter(filter, topic))) {
    return `matches none of the allowed reply topics of route ${route.name} (${route.allowReplyTo.join(", ")})`;
  }
  return undefined;
}

function textOf(fields: Fields, route: Route): string {
  const text = fields["text"];
  if (typeof text !== "string") {
    throw new RequestError("bad_request", `text must be a string, got ${describe(text)}`);
  }
  if (text.trim().length === 0) throw new RequestError("bad_request", "text is empty");
  if (text.length > route.maxTextCharacters) {
    throw new RequestError(
      "too_long",
      `text has ${text.length} characters, the limit is ${route.maxTextCharacters}; nothing is cut silently`,
    );
  }
  return text;
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
function labelsOf(value: unknown): Label[] {
  if (!Array.isArray(value)) throw new RequestError("bad_request", `labels must be a list, got ${describe(value)}`);
  const labels = value.map(labelOf);
  checkLabels(labels);
  return labels;
}

function labelOf(entry: unknown, index: number): Label {
  const fields: Fields = typeof entry === "object" && entry !== null ? (entry as Fields) : { name: entry };
  const { name, description } = fields;
  if (typeof name !== "string") {
    throw new RequestError("bad_request", `labels[${index}] must be a string, got ${describe(name)}`);
  }
  if (description !== undefined && typeof description !== "string") {
    throw new RequestError("bad_request", `labels[${index}].description must be a string`);
  }
  return description === undefined ? { name } : { name, description };
}

function optionalString(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null || typeof value === "string") return value ?? undefined;
  throw new RequestError("bad_request", `${name} must be a string, got ${describe(value)}`);
}

function optionalBoolean(fields: Fields, name: string): boolean | undefined {
  const value = fields[name];
  if (value === undefined || value === null || typeof value === "boolean") return value ?? undefined;
  throw new RequestError("bad_request", `${name} must be true or false, got ${describe(value)}`);
}

function optionalNumber(fields: Fields, name: string, least: number, most: number): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw new RequestError("bad_request", `${name} must be a number from ${least} to ${most}, got ${describe(value)}`);
  }
  return value;
}

function optionalInteger(fields: Fields, name: string, least: number, most: number): number | undefined {
  const value = optionalNumber(fields, name, least, most);
  if (value !== undefined && !Number.isInteger(value)) {
    throw new RequestError("bad_request", `${name} must be a whole number, got ${value}`);
  }
  return value;
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  return typeof value === "object" ? "an object" : String(value);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
