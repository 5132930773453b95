// What a record says, and its bytes: a JSON head of what people may want to read in an emergency, then payload and
// correlation data as they came. Decoding believes nothing: a body that does not hold what its type promises is
// undefined, fields it does not know are ignored.
import { PipitError } from "../core/errors.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { AcceptedQuestion } from "../core/ports.ts";
import type { Entry, Settled } from "./book.ts";
import type { Frame } from "./segment.ts";

export type JournalRecord =
  | { type: "accepted"; order: number; starts: number; deaths?: number; question: AcceptedQuestion }
  /** How often inference was begun without a known end, and how often it ended by the death of the model's process. */
  | { type: "started"; key: string; starts: number; deaths?: number }
  | { type: "answered"; order: number; key: string; dead: boolean; reply: OutgoingMessage; settled?: Settled }
  | { type: "settled"; order: number; key: string; dead: boolean; settled: Settled }
  | { type: "dead"; key: string };

const TYPES = ["accepted", "started", "answered", "settled", "dead"] as const;

type Head = Record<string, unknown>;

/**
 * The one record from which an entry can be restored as it stands. One, because of two the power may keep the first: a
 * settled reply without its settling would be sent again.
 */
export function recordOf(entry: Entry): JournalRecord {
  const { key, order, starts, deaths, dead, question, reply, settled } = entry;
  if (question !== undefined) return { type: "accepted", order, starts, ...noted(deaths), question };
  if (reply !== undefined) return { type: "answered", order, key, dead, reply, settled };
  if (settled !== undefined) return { type: "settled", order, key, dead, settled };
  throw new PipitError("bug", "journal_entry", `journal: question "${key}" holds neither question, reply nor end`);
}

export function startedRecordOf({ key, starts, deaths }: Entry): JournalRecord {
  return { type: "started", key, starts, ...noted(deaths) };
}

/** Hardly any question has seen a death: most records do without the field. */
function noted(deaths: number): { deaths?: number } {
  return deaths > 0 ? { deaths } : {};
}

export function encodeRecord(record: JournalRecord): Frame {
  const type = TYPES.indexOf(record.type) + 1;
  switch (record.type) {
    case "accepted": {
      const { payload, correlationData, ...head } = record.question;
      const { order, starts, deaths } = record;
      return { type, body: pack({ ...head, order, starts, deaths }, payload, correlationData) };
    }
    case "answered": {
      const { payload, correlationData, ...message } = record.reply;
      const { key, order, settled } = record;
      const head = { key, order, dead: record.dead || undefined, settled, message };
      return { type, body: pack(head, payload, correlationData) };
    }
    case "started":
    case "settled":
    case "dead": {
      const { type: _, ...head } = record;
      return { type, body: pack(head) };
    }
  }
}

export function decodeRecord(frame: Frame): JournalRecord | undefined {
  const type = TYPES[frame.type - 1];
  const unpacked = unpack(frame.body);
  if (type === undefined || unpacked === undefined) return undefined;
  const { head, payload, correlationData } = unpacked;
  const { key, order, starts } = head;
  const deaths = isCount(head["deaths"]) ? { deaths: head["deaths"] } : {};
  const settled = readSettled(head["settled"]);
  const dead = head["dead"] === true;
  if (typeof key !== "string") return undefined;
  switch (type) {
    case "accepted": {
      const question = questionOf(head, payload, correlationData);
      return isCount(order) && isCount(starts) && question ? { type, order, starts, ...deaths, question } : undefined;
    }
    case "answered": {
      const reply = replyOf(head["message"], payload, correlationData);
      if (!isCount(order) || reply === undefined) return undefined;
      return { type, key, order, dead, reply, settled };
    }
    case "started":
      return isCount(starts) ? { type, key, starts, ...deaths } : undefined;
    case "settled":
      return isCount(order) && settled ? { type, key, order, dead, settled } : undefined;
    case "dead":
      return { type, key };
  }
}

/** Head length u32 | JSON head | payload | correlation data; the head holds the lengths of the two. */
function pack(head: Head, payload: Uint8Array = new Uint8Array(), correlationData?: Uint8Array): Uint8Array {
  const lengths = { p: payload.length || undefined, c: correlationData?.length };
  const json = Buffer.from(JSON.stringify({ ...head, ...lengths }));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(json.length);
  return Buffer.concat([size, json, payload, correlationData ?? new Uint8Array()]);
}

function unpack(body: Uint8Array): { head: Head; payload: Uint8Array; correlationData?: Uint8Array } | undefined {
  if (body.length < 4) return undefined;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const headEnd = 4 + bytes.readUInt32BE(0);
  if (headEnd > bytes.length) return undefined;
  let head: unknown;
  try {
    head = JSON.parse(bytes.toString("utf8", 4, headEnd));
  } catch {
    return undefined;
  }
  if (!isHead(head)) return undefined;
  const { p: payloadBytes = 0, c: correlationBytes } = head;
  if (!isCount(payloadBytes) || !(correlationBytes === undefined || isCount(correlationBytes))) return undefined;
  const payloadEnd = headEnd + payloadBytes;
  if (payloadEnd + (correlationBytes ?? 0) !== bytes.length) return undefined;
  // Copies, so that one open question does not hold the whole segment in memory.
  const payload = new Uint8Array(bytes.subarray(headEnd, payloadEnd));
  if (correlationBytes === undefined) return { head, payload };
  return { head, payload, correlationData: new Uint8Array(bytes.subarray(payloadEnd)) };
}

function questionOf(
  head: Head,
  payload: Uint8Array,
  correlationData: Uint8Array | undefined,
): AcceptedQuestion | undefined {
  const { key, topic, acceptedWallMs, deadlineWallMs, responseTopic, userProperties, packetId } = head;
  if (typeof key !== "string" || typeof topic !== "string") return undefined;
  if (!isTime(acceptedWallMs) || !isTime(deadlineWallMs)) return undefined;
  const question: AcceptedQuestion = { key, topic, payload, acceptedWallMs, deadlineWallMs };
  if (typeof responseTopic === "string") question.responseTopic = responseTopic;
  if (correlationData !== undefined) question.correlationData = correlationData;
  if (isCount(packetId)) question.packetId = packetId;
  if (isHead(userProperties)) question.userProperties = userProperties as Record<string, string | string[]>;
  return question;
}

function replyOf(
  message: unknown,
  payload: Uint8Array,
  correlationData: Uint8Array | undefined,
): OutgoingMessage | undefined {
  if (!isHead(message) || typeof message["topic"] !== "string") return undefined;
  const { topic, retain, contentType, text, expirySeconds, userProperties } = message;
  const reply: OutgoingMessage = { topic: topic as string, payload };
  if (typeof retain === "boolean") reply.retain = retain;
  if (correlationData !== undefined) reply.correlationData = correlationData;
  if (typeof contentType === "string") reply.contentType = contentType;
  if (typeof text === "boolean") reply.text = text;
  if (isTime(expirySeconds)) reply.expirySeconds = expirySeconds;
  if (isHead(userProperties)) reply.userProperties = userProperties as Record<string, string>;
  return reply;
}

function readSettled(value: unknown): Settled | undefined {
  if (!isHead(value)) return undefined;
  const { order, wallMs } = value;
  return isCount(order) && isTime(wallMs) ? { order, wallMs } : undefined;
}

function isHead(value: unknown): value is Head {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}
