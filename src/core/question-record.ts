// A question as the journal keeps it, and back: enough to ask it again after a crash and to answer whoever asked.
import type { IncomingMessage } from "./message.ts";
import type { AcceptedQuestion } from "./ports.ts";
import { remainingMs } from "./remaining.ts";
import type { Question } from "./request.ts";
import type { Route } from "./route.ts";
import { senderProperty } from "./sender.ts";

export function recordOf(message: IncomingMessage, question: Question, wallMs: number): AcceptedQuestion {
  return {
    key: question.key,
    topic: message.topic,
    payload: message.payload,
    acceptedWallMs: wallMs,
    deadlineWallMs: wallMs + (question.deadlineMs - question.arrivedMs),
    ...(message.packetId !== undefined && { packetId: message.packetId }),
    ...(message.responseTopic && { responseTopic: message.responseTopic }),
    ...(message.correlationData && { correlationData: message.correlationData }),
    ...senderProperties(message, question.route),
  };
}

/** Of the user properties only the one that tells the sender: the others can be thousands, and nothing reads them. */
function senderProperties(
  { userProperties }: IncomingMessage,
  { sender }: Route,
): Pick<AcceptedQuestion, "userProperties"> {
  const name = senderProperty(sender);
  const value = name === undefined ? undefined : userProperties?.[name];
  return name === undefined || value === undefined ? {} : { userProperties: { [name]: value } };
}

/** The message as if it arrived now, with the time it has left. */
export function messageOfRecord(record: AcceptedQuestion, nowMs: number, wallMs: number): IncomingMessage {
  const { topic, payload, responseTopic, correlationData, userProperties } = record;
  return {
    topic,
    payload,
    retained: false,
    duplicate: true,
    expirySeconds: remainingMs(record, wallMs) / 1000,
    arrivedMs: nowMs,
    ...(responseTopic && { responseTopic }),
    ...(correlationData && { correlationData }),
    ...(userProperties && { userProperties }),
  };
}
