// Who is answered and where: the reply topic a request may choose within the rules, its identity, and the same for requests
// that are bad. Nothing is ever published to a topic that would make the agent talk to itself.
import { digest, shortened } from "./digest.ts";
import { RequestError } from "./errors.ts";
import type { IncomingMessage } from "./message.ts";
import { type Fields, optionalString, readFields } from "./request-fields.ts";
import type { Route } from "./route.ts";
import { fillTemplate, matchFilter, topicFault, withoutShare } from "./topics.ts";

/** Where a reply goes even if the request turns out to be bad, and what it carries. */
export interface ReturnAddress {
  id: string;
  replyTopic: string;
  correlationData: Uint8Array | undefined;
}

export interface Identity extends ReturnAddress {
  /** The id is the agent's own: the sender gave neither one nor correlation data. */
  unnamed: boolean;
}

export interface RequestLimits {
  /** Topics the agent itself listens on: a reply there would be a loop. */
  ownFilters: readonly string[];
  /** Topics that mean something to others: only a reply topic that is written out in the configuration may be one of them. */
  reservedFilters: readonly string[];
}

const MAX_ID_CHARACTERS = 128;
/** Of a reply topic that is refused, which may have 64 KiB. */
const SHOWN_TOPIC_CHARACTERS = 200;
/** Keys of 10,000 finished questions are remembered, and correlation data alone may have 64 KiB. */
const MAX_KEY_CHARACTERS = 512;

/** Throws RequestError: `bad_request` for the id, `not_allowed` for the reply topic. */
export function returnAddress(
  message: IncomingMessage,
  route: Route,
  fields: Fields,
  limits: RequestLimits,
  makeId: () => string,
): Identity {
  const given = optionalString(fields, "id");
  if (given !== undefined && (given.length === 0 || given.length > MAX_ID_CHARACTERS)) {
    throw new RequestError("bad_request", `id has ${given.length} characters, 1 to ${MAX_ID_CHARACTERS} are allowed`);
  }
  const asked = message.responseTopic ?? optionalString(fields, "reply_to");
  const own = routeReplyTopic(message, route);
  const replyTopic = asked ?? own;
  const fault = replyTopicFault(replyTopic, message, fields, route, limits);
  if (fault)
    throw new RequestError(
      "not_allowed",
      `reply topic ${JSON.stringify(shortened(replyTopic, SHOWN_TOPIC_CHARACTERS))} ${fault}`,
    );
  const chosen = given ?? idFromCorrelation(message.correlationData);
  const unnamed = chosen === undefined && !message.correlationData?.length;
  return { id: chosen ?? makeId(), unnamed, replyTopic, correlationData: message.correlationData };
}

/**
 * The address to answer a message whose request is bad: as much of it as can be read. Undefined when not even the route's
 * own reply topic is one: its template leads this message back to the agent, or to no topic at all.
 */
export function returnAddressOfBadRequest(
  message: IncomingMessage,
  route: Route,
  limits: RequestLimits,
  makeId: () => string,
): ReturnAddress | undefined {
  const fields = readableFields(message.payload, route.maxPayloadBytes);
  const id = textIn(fields, "id")?.slice(0, MAX_ID_CHARACTERS);
  const asked = message.responseTopic ?? textIn(fields, "reply_to");
  const own = routeReplyTopic(message, route);
  const usable = [asked, own].filter((topic) => topic !== undefined);
  const replyTopic = usable.find((topic) => replyTopicFault(topic, message, fields, route, limits) === undefined);
  if (replyTopic === undefined) return undefined;
  const { correlationData } = message;
  return { id: id || idFromCorrelation(correlationData) || makeId(), replyTopic, correlationData };
}

/**
 * De-duplication identity: what the asker chose, for this reply topic and these very bytes. The bytes count because many
 * askers number their questions from 1 again after a restart; a repeat of the same question has the same bytes.
 */
export function questionKey(address: ReturnAddress, message: IncomingMessage): string {
  const own = address.correlationData?.length ? `c:${hex(address.correlationData)}` : `i:${address.id}`;
  return shortened(`${message.topic} ${address.replyTopic} ${own} ${digest(message.payload)}`, MAX_KEY_CHARACTERS);
}

/**
 * Whether a message without an identity, sent again by the broker, is the question of `key`, which came under the same packet
 * identifier: same topic, reply topic and bytes. Only with the DUP flag, for the same text may be asked twice on purpose.
 */
export function isRedelivery(key: string, { replyTopic, unnamed }: Identity, message: IncomingMessage): boolean {
  if (!unnamed || !message.duplicate) return false;
  return key.startsWith(`${message.topic} ${replyTopic} i:`) && key.endsWith(` ${digest(message.payload)}`);
}

function readableFields(payload: Uint8Array, maxPayloadBytes: number): Fields {
  try {
    return readFields(payload, maxPayloadBytes);
  } catch {
    return {};
  }
}

function textIn(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return typeof value === "string" ? value : undefined;
}

/** Correlation data that is short printable text serves as the id too, so that logs and JSON replies show what was sent. */
function idFromCorrelation(data: Uint8Array | undefined): string | undefined {
  if (data === undefined || data.length === 0 || data.length > MAX_ID_CHARACTERS) return undefined;
  const printable = data.every((byte) => byte >= 0x20 && byte < 0x7f);
  return printable ? String.fromCharCode(...data) : hex(data);
}

function routeReplyTopic(message: IncomingMessage, route: Route): string {
  return fillTemplate(route.replyTopic, wildcardsOf(message, route));
}

/** What the wildcards of the route's filter stood for. */
function wildcardsOf({ topic }: IncomingMessage, { filter }: Route): string[] {
  return matchFilter(withoutShare(filter), topic) ?? [];
}

/** The route's own reply topic for this message is always allowed; the allow-list is about other ones. */
function replyTopicFault(
  topic: string,
  message: IncomingMessage,
  fields: Fields,
  route: Route,
  limits: RequestLimits,
): string | undefined {
  const partial = fields["stream"] === true ? topicFault(partialTopic(topic)) : undefined;
  const fault = topicFault(topic) ?? partial ?? loopFault(topic, fields, limits);
  if (fault || topic === route.replyTopic) return fault;
  if (limits.reservedFilters.some((filter) => matchFilter(filter, topic))) return "has a meaning of its own to agents";
  if (topic === routeReplyTopic(message, route)) return undefined;
  // `{1}` keeps whoever may write to one level of the route's filter to the same level of the replies.
  const allowed = route.allowReplyTo.map((filter) => fillTemplate(filter, wildcardsOf(message, route)));
  if (allowed.some((filter) => matchFilter(filter, topic))) return undefined;
  return `matches none of the allowed reply topics of route ${route.name} (${allowed.join(", ")})`;
}

function loopFault(topic: string, { stream }: Fields, { ownFilters }: RequestLimits): string | undefined {
  const isOwn = (name: string) => ownFilters.some((filter) => matchFilter(filter, name));
  if (isOwn(topic)) return "is a request topic of this agent";
  return stream === true && isOwn(partialTopic(topic)) ? "would make the partials requests of this agent" : undefined;
}

/** Where the streamed pieces of a reply go. */
export function partialTopic(replyTopic: string): string {
  return `${replyTopic}/partial`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
