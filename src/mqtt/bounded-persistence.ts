// Limits on what the embedded broker keeps in memory for clients that are away. aedes' memory store has none; like
// mosquitto beyond `max_queued_messages`, messages over the limit are dropped for that client, and said so once.
import type { Logger } from "../core/ports.ts";

export interface StoreLimits {
  /** Messages kept for one client that is away. */
  queuedMessages: number;
  /** Payload bytes kept for all clients that are away. */
  queuedBytes: number;
  /** Topics with a retained message. */
  retainedMessages: number;
}

interface StoredPacket {
  topic: string;
  payload: string | Uint8Array;
}

interface Subscriber {
  clientId: string;
}

/** The part of aedes' persistence interface that adds to memory. */
export interface Persistence {
  outgoingEnqueueCombi(subscribers: Subscriber[], packet: StoredPacket): Promise<void>;
  storeRetained(packet: StoredPacket): Promise<void>;
}

/** Puts the limits in front of `store`; the returned function forgets the count of a client that has come back. */
export function boundPersistence(
  store: Persistence,
  limits: StoreLimits,
  isConnected: (clientId: string) => boolean,
  logger: Logger,
): (clientId: string) => void {
  const enqueue = store.outgoingEnqueueCombi.bind(store);
  const retain = store.storeRetained.bind(store);
  const queued = new Map<string, { messages: number; bytes: number; full: boolean }>();
  const retained = new Set<string>();
  let queuedBytes = 0;

  // A connected client is never refused here: its unacknowledged messages are what it is being sent right now.
  const hasRoom = ({ clientId }: Subscriber, bytes: number): boolean => {
    if (isConnected(clientId)) return true;
    const held = queued.get(clientId) ?? { messages: 0, bytes: 0, full: false };
    queued.set(clientId, held);
    if (held.messages >= limits.queuedMessages || queuedBytes + bytes > limits.queuedBytes) {
      if (!held.full)
        logger.warn({ client_id: clientId, messages: held.messages }, "queue of an absent client is full");
      held.full = true;
      return false;
    }
    held.messages += 1;
    held.bytes += bytes;
    queuedBytes += bytes;
    return true;
  };

  store.outgoingEnqueueCombi = (subscribers, packet) => {
    const { length } = packet.payload;
    return enqueue(
      subscribers.filter((subscriber) => hasRoom(subscriber, length)),
      packet,
    );
  };
  store.storeRetained = (packet) => {
    if (packet.payload.length === 0) {
      retained.delete(packet.topic);
    } else if (!retained.has(packet.topic) && retained.size >= limits.retainedMessages) {
      logger.warn({ topic: packet.topic, limit: limits.retainedMessages }, "retained message dropped: too many topics");
      return Promise.resolve();
    } else {
      retained.add(packet.topic);
    }
    return retain(packet);
  };
  return (clientId) => {
    queuedBytes -= queued.get(clientId)?.bytes ?? 0;
    queued.delete(clientId);
  };
}
