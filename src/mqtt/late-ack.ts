// PUBACK when we say so, not when the next packet wants to be read. MQTT.js 5.16 holds the whole inbound stream, PINGRESP
// too, until `handleMessage` calls back (held for 3 s at keepalive 1 s, the client cut its own link), and acknowledges right
// then. Calling back with an error lets the stream go on without a PUBACK, which is sent later by the private `_sendPacket`:
// there is no public way. test/integration/scripted-broker.test.ts fails when a new MQTT.js changes any of this.
import type { IPublishPacket, MqttClient } from "mqtt";
import { PipitError } from "../core/errors.ts";

/** Takes one PUBLISH that arrived at `arrivedMs`; `acknowledge` is called at most once, any time later, or never. */
export type PacketReceiver = (packet: IPublishPacket, arrivedMs: number, acknowledge: () => void) => void;

export interface LateAckOptions {
  /** Messages handed over and not yet acknowledged; the next ones wait as they came. */
  maxMessages: number;
  /** Bytes of all messages that are not acknowledged. */
  maxBytes: number;
  nowMs: () => number;
}

interface PrivateClient {
  _sendPacket(packet: { cmd: "puback"; messageId: number; reasonCode: 0 }): void;
}

const LATER: Error = new Error("acknowledged later");
/** What a message takes besides its payload, about. */
export const MESSAGE_BYTES = 1024;

/**
 * Hands every incoming PUBLISH of `client` to `receive`. The stream is read on whatever waits: acknowledgements of our own
 * messages come on it, and a refusal is acknowledged only when the broker has it. So memory is bounded another way: what
 * comes beyond `maxBytes` is let go without an acknowledgement, with all that comes after it, until nothing waits any more;
 * then the connection is ended, and the broker sends what it still owes to the next one. Brokers that keep to a window
 * never get there. (mosquitto 2.0.11 does not keep to the receive maximum in a flood: 10,000 questions at once all came.)
 */
export function acknowledgeLate(client: MqttClient, options: LateAckOptions, receive: PacketReceiver): void {
  const inner = client as unknown as PrivateClient;
  if (typeof inner._sendPacket !== "function") {
    throw new PipitError("bug", "mqtt_library", "MQTT.js has no _sendPacket: this version cannot acknowledge late");
  }
  const line: { packet: IPublishPacket; messageId: number; arrivedMs: number; bytes: number }[] = [];
  let handedOver = 0;
  let bytesHeld = 0;
  let letGo = 0;

  const handOver = (): void => {
    while (handedOver < options.maxMessages) {
      const next = line.shift();
      if (next === undefined) return;
      const { packet, messageId, arrivedMs, bytes } = next;
      handedOver += 1;
      receive(packet, arrivedMs, () => {
        handedOver -= 1;
        bytesHeld -= bytes;
        // The packet identifier means nothing to the next connection, which is another client object.
        if (client.connected) inner._sendPacket({ cmd: "puback", messageId, reasonCode: 0 });
        if (bytesHeld === 0 && letGo > 0) return endConnection(client, letGo);
        handOver();
      });
    }
  };

  // What has not been looked at comes again on the next connection, and shall not be answered on both.
  client.once("close", () => line.splice(0));

  client.handleMessage = (packet, callback) => {
    const { messageId, qos } = packet;
    const arrivedMs = options.nowMs();
    if (qos !== 1 || messageId === undefined) {
      receive(packet, arrivedMs, () => {});
      callback();
      return;
    }
    callback(LATER);
    const bytes = packet.payload.length + MESSAGE_BYTES;
    if (letGo > 0 || (bytesHeld > 0 && bytesHeld + bytes > options.maxBytes)) {
      letGo += 1;
      return;
    }
    bytesHeld += bytes;
    line.push({ packet, messageId, arrivedMs, bytes });
    handOver();
  };
}

function endConnection(client: MqttClient, letGo: number): void {
  client.emit("error", new Error(`${letGo} messages more than fit were not taken: the broker sends them again`));
  // Not destroyed: the acknowledgements that were written last shall get there.
  client.stream.end();
}
