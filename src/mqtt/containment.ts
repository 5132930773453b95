// Keeps what a broken or hostile broker sends within its own connection. MQTT.js 5.16 answers frames it could not read whole:
// a PUBREL without its packet identifier makes it write `undefined` to the socket, which throws out of the stream's callback
// and would end the process (found by test/fuzz/mqtt.test.ts). Here the connection ends instead. There is no public way.
import type { MqttClient } from "mqtt";
import { toError } from "../core/errors.ts";

type WritePacket = (this: MqttClient, packet: object, done?: (error?: Error) => void) => void;

interface PrivateClient {
  _writePacket: WritePacket;
}

/** A packet that cannot be written ends the connection with its reason, and is not thrown at whoever happened to read. */
export function containFaults(client: MqttClient): void {
  const inner = client as unknown as PrivateClient;
  const write = inner._writePacket.bind(client);
  inner._writePacket = (packet, done) => {
    try {
      write(packet, done);
    } catch (thrown) {
      const error = toError(thrown);
      client.emit("error", error);
      client.stream.destroy();
      done?.(error);
    }
  };
}
