// MQTT messages as the rooms exchange them: the link turns packets into these and back. Payloads are bytes.

export interface IncomingMessage {
  topic: string;
  payload: Uint8Array;
  /** The broker sent it because it was stored as retained, not because somebody publishes now. */
  retained: boolean;
  /** MQTT DUP flag: only a hint, brokers set it on messages we have never seen. */
  duplicate: boolean;
  /** Numbers of the subscriptions that it was sent for (MQTT 5), where they have any. */
  subscriptionIds?: number[];
  /** Packet identifier of this delivery, unique only within one connection. */
  packetId?: number;
  responseTopic?: string;
  correlationData?: Uint8Array;
  /** Seconds left until the message expires, counted at arrival (MQTT 5 §3.3.2.3.3). */
  expirySeconds?: number;
  contentType?: string;
  userProperties?: Record<string, string | string[]>;
  /** Monotonic clock at arrival. */
  arrivedMs: number;
}

export interface OutgoingMessage {
  topic: string;
  payload: Uint8Array;
  retain?: boolean;
  correlationData?: Uint8Array;
  contentType?: string;
  /** The payload is UTF-8 text (MQTT 5 payload format indicator 1). */
  text?: boolean;
  expirySeconds?: number;
  userProperties?: Record<string, string>;
}

/** Bytes that what the sender has chosen takes, near enough for a bound. */
export function messageBytes({ topic, payload, responseTopic, correlationData }: IncomingMessage): number {
  return payload.length + topic.length + (responseTopic?.length ?? 0) + (correlationData?.length ?? 0);
}
