// The settings of the broker as the link and the embedded broker want them; doctor asks the broker the same way.
import { join } from "node:path";
import type { LoadedConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { topicsOf } from "./core/topics.ts";
import type { EmbeddedBrokerOptions } from "./mqtt/embedded-broker.ts";
import type { LinkOptions } from "./mqtt/link-options.ts";

/** Well above the largest payload taken: what the broker drops for its size is never answered with `too_large`. */
const PACKET_BYTES = { times: 4, least: 262_144 };
const PROTOCOLS = { auto: "auto", 5: "5", 4: "3.1.1" } as const;

export function linkOptionsOf(
  config: Config,
  secret: LoadedConfig["secret"],
  more: Partial<LinkOptions> = {},
): LinkOptions {
  const { broker, device, state } = config;
  return {
    url: broker.url,
    clientId: broker.clientId,
    username: broker.username,
    password: secret("broker.password"),
    tls: { caFile: broker.caFile, certFile: broker.certFile, keyFile: broker.keyFile, insecure: broker.insecure },
    protocol: PROTOCOLS[broker.protocolVersion],
    filters: [],
    filtersFile: join(state.dir, "subscriptions.json"),
    availabilityTopic: topicsOf(device.baseTopic, device.id).availability,
    keepaliveSeconds: broker.keepaliveS,
    sessionExpirySeconds: broker.sessionExpiryS,
    receiveMaximum: broker.receiveMaximum,
    connectTimeoutMs: broker.connectTimeoutMs,
    maxPacketBytes: maxPacketBytes(config),
    ...more,
  };
}

export function brokerOptionsOf(config: Config): EmbeddedBrokerOptions {
  const { broker } = config;
  const { embeddedCertFile: certFile, embeddedKeyFile: keyFile, embeddedCaFile: caFile } = broker;
  return {
    host: broker.embeddedHost,
    port: broker.embeddedPort,
    webSocketPort: broker.embeddedWebsocketPort,
    usersFile: broker.embeddedUsersFile,
    accessFile: broker.embeddedAccessFile,
    maxPacketBytes: maxPacketBytes(config),
    ...(certFile && keyFile && { tls: { certFile, keyFile, ...(caFile && { caFile }) } }),
  };
}

function maxPacketBytes({ queue, routes }: Config): number {
  const payloads = [queue.maxPayloadBytes, ...routes.map(({ maxPayloadBytes }) => maxPayloadBytes ?? 0)];
  return Math.max(PACKET_BYTES.least, PACKET_BYTES.times * Math.max(...payloads));
}
