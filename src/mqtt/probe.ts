// What a broker offers, asked as an agent would: protocol version, features of its CONNACK, the time of a round trip.
import { connectAsync, type MqttClient } from "mqtt";
import { toError } from "../core/errors.ts";
import { connectFault } from "./faults.ts";
import { clientOptions, type LinkOptions, resolveLinkOptions } from "./link-options.ts";
import type { ProtocolVersion } from "./packets.ts";

export interface BrokerProbe {
  version: ProtocolVersion;
  retain: boolean;
  sharedSubscriptions: boolean;
  wildcards: boolean;
  maximumPacketBytes: number | undefined;
  receiveMaximum: number;
  /** Median time from publishing a message to receiving it back, QoS 1. */
  roundTripMs: number;
}

const ROUND_TRIPS = 5;
const TIMEOUT_MS = 5000;

/** Rejects with the PipitError that a link would report. `topic` must be one this client may write and read. */
export async function probeBroker(options: LinkOptions, topic: string): Promise<BrokerProbe> {
  const resolved = resolveLinkOptions({ ...options, connectTimeoutMs: TIMEOUT_MS });
  const versions: ProtocolVersion[] = resolved.protocol === "3.1.1" ? [4] : resolved.protocol === "5" ? [5] : [5, 4];
  let fault: unknown;
  for (const version of versions) {
    try {
      return await probe(await open(resolved, version), version, topic);
    } catch (thrown) {
      fault = thrown;
    }
  }
  throw connectFault(fault);
}

async function open(options: ReturnType<typeof resolveLinkOptions>, version: ProtocolVersion): Promise<MqttClient> {
  const { will, ...rest } = await clientOptions(options, version);
  void will;
  // A name of its own: with the agent's name the broker would end the agent's connection.
  const clientId = `${options.clientId}-doctor`;
  return connectAsync(options.url, { ...rest, clientId, clean: true, reconnectPeriod: 0 }, false);
}

async function probe(client: MqttClient, version: ProtocolVersion, topic: string): Promise<BrokerProbe> {
  try {
    // Absent means yes (MQTT 5 §3.2.2.3); 3.1.1 has no way to say no, and shared subscriptions only as an extension.
    const said = (client as unknown as { serverProperties?: Record<string, unknown> }).serverProperties ?? {};
    return {
      version,
      retain: said["retainAvailable"] !== false,
      sharedSubscriptions: version === 5 && said["sharedSubscriptionAvailable"] !== false,
      wildcards: said["wildcardSubscriptionAvailable"] !== false,
      maximumPacketBytes: typeof said["maximumPacketSize"] === "number" ? said["maximumPacketSize"] : undefined,
      receiveMaximum: typeof said["receiveMaximum"] === "number" ? said["receiveMaximum"] : 65_535,
      roundTripMs: await roundTripMs(client, topic),
    };
  } finally {
    await client.endAsync(true);
  }
}

async function roundTripMs(client: MqttClient, topic: string): Promise<number> {
  (client.stream as unknown as { setNoDelay?: (on: boolean) => void }).setNoDelay?.(true);
  await client.subscribeAsync(topic, { qos: 1 });
  const times: number[] = [];
  for (let count = 0; count < ROUND_TRIPS; count += 1) {
    const startedMs = performance.now();
    const returned = new Promise<void>((resolve, reject) => {
      client.once("message", () => resolve());
      setTimeout(() => reject(toError("the broker does not deliver what it was sent")), TIMEOUT_MS).unref();
    });
    await client.publishAsync(topic, String(count), { qos: 1 });
    await returned;
    times.push(performance.now() - startedMs);
  }
  return times.sort((one, other) => one - other)[Math.floor(ROUND_TRIPS / 2)] ?? NaN;
}
