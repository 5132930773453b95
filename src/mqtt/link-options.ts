// What the link must be told, the defaults of everything else, and the check that names the field, the bound and the value.
// Keys are given as files and read before every attempt, so that rotated ones are used from the next connection on.
import { readFile } from "node:fs/promises";
import type { IClientOptions } from "mqtt";
import { PipitError, toError } from "../core/errors.ts";
import { filterFault, topicFault, withoutShare } from "../core/topics.ts";
import { DEFAULT_BACKOFF } from "./backoff.ts";
import type { BackoffOptions } from "./backoff.ts";
import { brokerUrlFault } from "./broker-url.ts";
import type { ProtocolVersion } from "./packets.ts";

export interface TlsOptions {
  /** PEM files. Without a CA the system's list counts. */
  caFile?: string;
  certFile?: string;
  keyFile?: string;
  /** Accepts any certificate; warned about at every start. */
  insecure?: boolean;
}

export interface LinkOptions {
  /** mqtt, mqtts, ws or wss. */
  url: string;
  /** Fixed for the device: the broker keeps session and unacknowledged questions under it. */
  clientId: string;
  username?: string;
  password?: string;
  tls?: TlsOptions;
  /** `auto` is MQTT 5, and 3.1.1 where the broker refuses it. */
  protocol?: "auto" | "5" | "3.1.1";
  /** Topic filters, `$share/…` allowed; subscribed to with QoS 1. */
  filters: readonly string[];
  /** File that remembers them, so that one no longer wanted is taken back from the session at the broker. */
  filtersFile?: string;
  /** Retained `online` and `offline` (the will) go here. */
  availabilityTopic: string;
  keepaliveSeconds?: number;
  /** How long the broker keeps our session while we are away (MQTT 5; on 3.1.1 the broker decides). */
  sessionExpirySeconds?: number;
  /** Unacknowledged messages the broker may send us (MQTT 5). */
  receiveMaximum?: number;
  /** Largest packet the broker may send us (MQTT 5). */
  maxPacketBytes?: number;
  /** How long we may be away before the broker says `offline` (MQTT 5): a short cut is not news. */
  willDelaySeconds?: number;
  connectTimeoutMs?: number;
  /** For the farewell at stop: `offline` published, DISCONNECT sent. */
  stopTimeoutMs?: number;
  backoff?: Partial<BackoffOptions>;
}

export type ResolvedLinkOptions = Required<Omit<LinkOptions, "username" | "password" | "filtersFile" | "backoff">> &
  Pick<LinkOptions, "username" | "password" | "filtersFile"> & { backoff: BackoffOptions };

/** Checks and completes; throws one `config` PipitError that lists every fault. */
export function resolveLinkOptions(options: LinkOptions): ResolvedLinkOptions {
  const resolved: ResolvedLinkOptions = {
    tls: {},
    protocol: "auto",
    keepaliveSeconds: 30,
    sessionExpirySeconds: 7 * 24 * 3600,
    receiveMaximum: 8,
    maxPacketBytes: 65_536,
    willDelaySeconds: 15,
    connectTimeoutMs: 15_000,
    stopTimeoutMs: 2_000,
    ...withoutUndefined(options),
    backoff: { ...DEFAULT_BACKOFF, ...withoutUndefined(options.backoff ?? {}) },
  };
  const faults = [...topicFaults(resolved), ...boundFaults(resolved)];
  const urlFault = brokerUrlFault(resolved.url);
  if (urlFault !== undefined) faults.unshift(urlFault);
  if (resolved.clientId === "") faults.push("client id is empty: the broker keeps the session under it");
  const { certFile, keyFile } = resolved.tls;
  if ((certFile === undefined) !== (keyFile === undefined))
    faults.push("tls: certificate and key go together, one is missing");
  if (faults.length > 0) throw new PipitError("config", "link_options", `MQTT link: ${faults.join("; ")}`);
  return resolved;
}

function topicFaults({ filters, availabilityTopic }: ResolvedLinkOptions): string[] {
  const faults: string[] = [];
  for (const filter of filters) {
    const fault = filterFault(withoutShare(filter));
    if (fault !== undefined) faults.push(`topic filter "${filter}" ${fault}`);
  }
  const fault = topicFault(availabilityTopic);
  if (fault !== undefined) faults.push(`availability topic "${availabilityTopic}" ${fault}`);
  return faults;
}

function boundFaults(options: ResolvedLinkOptions): string[] {
  const bounds: [name: keyof ResolvedLinkOptions, least: number, most: number][] = [
    ["keepaliveSeconds", 1, 65_535],
    ["sessionExpirySeconds", 0, 0xffffffff],
    ["receiveMaximum", 1, 65_535],
    ["maxPacketBytes", 1_024, 268_435_460],
    ["willDelaySeconds", 0, 0xffffffff],
    ["connectTimeoutMs", 1, 600_000],
    ["stopTimeoutMs", 1, 600_000],
  ];
  return bounds.flatMap(([name, least, most]) => {
    const value = options[name];
    const within = typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
    return within ? [] : [`${name} must be a whole number from ${least} to ${most}, got ${String(value)}`];
  });
}

/** What MQTT.js is told for one attempt. */
export async function clientOptions(options: ResolvedLinkOptions, version: ProtocolVersion): Promise<IClientOptions> {
  const client: IClientOptions = {
    protocolVersion: version,
    clientId: options.clientId,
    clean: false,
    keepalive: options.keepaliveSeconds,
    connectTimeout: options.connectTimeoutMs,
    will: { topic: options.availabilityTopic, payload: "offline" as unknown as Buffer, qos: 1, retain: true },
    ...(await tlsOptions(options.tls)),
  };
  if (options.username !== undefined) client.username = options.username;
  if (options.password !== undefined) client.password = options.password;
  if (version === 5) {
    client.properties = {
      sessionExpiryInterval: options.sessionExpirySeconds,
      receiveMaximum: options.receiveMaximum,
      maximumPacketSize: options.maxPacketBytes,
    };
    if (client.will) client.will.properties = { willDelayInterval: options.willDelaySeconds };
  }
  return client;
}

async function tlsOptions({ caFile, certFile, keyFile, insecure }: TlsOptions): Promise<IClientOptions> {
  const options: IClientOptions = { rejectUnauthorized: insecure !== true };
  if (caFile !== undefined) options.ca = await pem("CA", caFile);
  if (certFile !== undefined) options.cert = await pem("certificate", certFile);
  if (keyFile !== undefined) options.key = await pem("key", keyFile);
  return options;
}

async function pem(what: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const message = `the TLS ${what} file ${file} cannot be read: ${toError(error).message}`;
    throw new PipitError("config", "tls_file", message, { cause: error });
  }
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
