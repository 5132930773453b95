// MQTT packets to the messages of core/ and back. MQTT 5 properties have no place in a 3.1.1 packet and are left out there.
import type { IClientPublishOptions, IPublishPacket } from "mqtt";
import type { IncomingMessage, OutgoingMessage } from "../core/message.ts";

export type ProtocolVersion = 4 | 5;

const encoder = new TextEncoder();

export function incomingMessage(packet: IPublishPacket, arrivedMs: number): IncomingMessage {
  const { properties, messageId } = packet;
  const message: IncomingMessage = {
    topic: packet.topic,
    payload: typeof packet.payload === "string" ? encoder.encode(packet.payload) : packet.payload,
    retained: packet.retain,
    duplicate: packet.dup,
    arrivedMs,
  };
  if (messageId !== undefined) message.packetId = messageId;
  if (properties === undefined) return message;
  if (properties.responseTopic !== undefined) message.responseTopic = properties.responseTopic;
  if (properties.correlationData !== undefined) message.correlationData = properties.correlationData;
  if (properties.messageExpiryInterval !== undefined) message.expirySeconds = properties.messageExpiryInterval;
  if (properties.subscriptionIdentifier !== undefined)
    message.subscriptionIds = [properties.subscriptionIdentifier].flat();
  if (properties.contentType !== undefined) message.contentType = properties.contentType;
  if (properties.userProperties !== undefined) message.userProperties = { ...properties.userProperties };
  return message;
}

/** What the asking side needs beyond an `OutgoingMessage`. */
export interface PublishMessage extends OutgoingMessage {
  responseTopic?: string;
}

export function publishOptions(message: PublishMessage, version: ProtocolVersion): IClientPublishOptions {
  const options: IClientPublishOptions = { qos: 1, retain: message.retain ?? false };
  if (version === 5) {
    const properties: NonNullable<IClientPublishOptions["properties"]> = {};
    if (message.responseTopic !== undefined) properties.responseTopic = message.responseTopic;
    if (message.correlationData !== undefined) properties.correlationData = message.correlationData as Buffer;
    if (message.contentType !== undefined) properties.contentType = message.contentType;
    if (message.text !== undefined) properties.payloadFormatIndicator = message.text;
    // mqtt-packet 9.0 destroys the whole connection over a number that does not fit and over an empty set of user properties.
    const { expirySeconds, userProperties = {} } = message;
    if (expirySeconds !== undefined) properties.messageExpiryInterval = Math.ceil(clamp(expirySeconds, 0, 0xffffffff));
    if (Object.keys(userProperties).length > 0) properties.userProperties = userProperties;
    options.properties = properties;
  }
  return options;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

/** Upper bound of the bytes of the PUBLISH packet that carries `message`. */
export function packetBytes(message: PublishMessage): number {
  // Fixed header 5, topic length 2, packet identifier 2, property length 4, expiry 5, payload format 2; then 3 to 5 bytes a text.
  let bytes = 20 + message.payload.length + textBytes(message.topic);
  bytes +=
    textBytes(message.responseTopic) + textBytes(message.contentType) + 5 + (message.correlationData?.length ?? 0);
  for (const [name, value] of Object.entries(message.userProperties ?? {})) bytes += textBytes(name) + textBytes(value);
  return bytes;
}

function textBytes(text: string | undefined): number {
  return text === undefined ? 0 : 3 + encoder.encode(text).length;
}
