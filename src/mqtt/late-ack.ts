// PUBACK when we say so, not when the next packet wants to be read. MQTT.js 5.16 holds the whole inbound stream, PINGRESP
// too, until `handleMessage` calls back (held for 3 s at keepalive 1 s, the client cut its own link), and acknowledges right
// then. Calling back with an error lets the stream go on without a PUBACK, which is sent later by the private `_sendPacket`:
// there is no public way. test/integration/scripted-broker.test.ts fails when a new MQTT.js changes any of this.
import type { IPublishPacket, MqttClient } from "mqtt";
import { PipitError } from "../core/errors.ts";

/** Takes one PUBLISH; `acknowledge` is called at most once, any time later, or never. */
export type PacketReceiver = (packet: IPublishPacket, acknowledge: () => void) => void;

interface PrivateClient {
  _sendPacket(packet: { cmd: "puback"; messageId: number; reasonCode: 0 }): void;
}

const LATER: Error = new Error("acknowledged later");

/**
 * Hands every incoming PUBLISH of `client` to `receive`. While `limit` messages wait for their acknowledgement the inbound
 * stream does stand still: MQTT 5 brokers never get there (receive maximum), MQTT 3.1.1 knows no such limit.
 */
export function acknowledgeLate(client: MqttClient, limit: number, receive: PacketReceiver): void {
  const inner = client as unknown as PrivateClient;
  if (typeof inner._sendPacket !== "function") {
    throw new PipitError("bug", "mqtt_library", "MQTT.js has no _sendPacket: this version cannot acknowledge late");
  }
  let waiting = 0;
  let goOn: (() => void) | undefined;

  client.handleMessage = (packet, callback) => {
    const { messageId, qos } = packet;
    if (qos !== 1 || messageId === undefined) {
      receive(packet, () => {});
      callback();
      return;
    }
    waiting += 1;
    receive(packet, () => {
      waiting -= 1;
      // The packet identifier means nothing to the next connection, which is another client object.
      if (client.connected) inner._sendPacket({ cmd: "puback", messageId, reasonCode: 0 });
      const resume = goOn;
      goOn = undefined;
      resume?.();
    });
    if (waiting < limit) callback(LATER);
    else goOn = () => callback(LATER);
  };
}
