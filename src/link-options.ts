// The settings of the broker as the link wants them; shared by the agent and by doctor, which asks the broker the same way.
import type { LoadedConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { topicsOf } from "./core/topics.ts";
import type { LinkOptions } from "./mqtt/link-options.ts";

/** Topic, properties and header around the largest payload that is taken. */
export const PACKET_OVERHEAD_BYTES = 4096;
const PROTOCOLS = { auto: "auto", 5: "5", 4: "3.1.1" } as const;

export function linkOptionsOf(
  { broker, device, queue }: Config,
  secret: LoadedConfig["secret"],
  more: Partial<LinkOptions> = {},
): LinkOptions {
  return {
    url: broker.url,
    clientId: broker.clientId,
    username: broker.username,
    password: secret("broker.password"),
    tls: { caFile: broker.caFile, certFile: broker.certFile, keyFile: broker.keyFile, insecure: broker.insecure },
    protocol: PROTOCOLS[broker.protocolVersion],
    filters: [],
    availabilityTopic: topicsOf(device.baseTopic, device.id).availability,
    keepaliveSeconds: broker.keepaliveS,
    sessionExpirySeconds: broker.sessionExpiryS,
    receiveMaximum: broker.receiveMaximum,
    connectTimeoutMs: broker.connectTimeoutMs,
    maxPacketBytes: queue.maxPayloadBytes + PACKET_OVERHEAD_BYTES,
    ...more,
  };
}
