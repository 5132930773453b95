// One network connection to a broker, from CONNECT to its end; the next connection is another object. MQTT.js reconnects,
// resubscribes and replays nothing here: session.ts makes connections, the outbox repeats what matters. In exchange a publish
// has three ends only: acknowledged, refused, or rejected because the connection fell. No node: imports: browsers use it too.

// The default import, because the browser build of MQTT.js has no other.
import mqtt from "mqtt";
import type { IClientOptions, ISubscriptionMap, MqttClient } from "mqtt";
import { PipitError, toError } from "../core/errors.ts";
import type { IncomingMessage } from "../core/message.ts";
import type { Clock } from "../core/ports.ts";
import { topicFault } from "../core/topics.ts";
import { withoutSecrets } from "./broker-url.ts";
import { containFaults } from "./containment.ts";
import { connectFault, linkDown, publishFault } from "./faults.ts";
import { acknowledgeLate, type LateAckOptions, MESSAGE_BYTES } from "./late-ack.ts";
import { incomingMessage, packetBytes, publishOptions } from "./packets.ts";
import type { ProtocolVersion, PublishMessage } from "./packets.ts";

/** MQTT.js ignores the server's receive maximum, so we count; 8 is what we also allow the server (design.md §7). */
const MAX_IN_FLIGHT = 8;
/** A broker that still answers pings but has not acknowledged a message for this long gets it on the next connection. */
const ACKNOWLEDGE_TIMEOUT_MS = 60_000;
/** Messages that are looked at side by side; one in work takes some 10 KiB, one that waits its turn less than 1. */
const MAX_UNACKNOWLEDGED = 64;
/** 10,000 short questions at once; more than a window of 20 messages of the largest size takes by default. */
const MAX_UNACKNOWLEDGED_BYTES = 16 * 1024 * 1024;

/** Whatever the defaults of this Node.js are; browsers have bounds of their own. MQTT.js hands it to `tls` and `ws` as it is. */
const OLDEST_TLS = { minVersion: "TLSv1.2" } as const;

/** The message is acknowledged when the promise resolves, and not at all when it rejects. `closed` fires with the link. */
export type Receiver = (message: IncomingMessage, closed: AbortSignal) => Promise<void>;

export interface Subscription {
  filter: string;
  /** 0, 1, or from 128 on the reason why the broker refused. */
  granted: number;
}

export class Connection {
  readonly version: ProtocolVersion;
  /** The broker still had our session, with what has arrived meanwhile. */
  readonly sessionPresent: boolean;
  /** Resolves, never rejects, with the reason when the connection is gone. */
  readonly closed: Promise<string>;
  readonly #client: MqttClient;
  readonly #clock: Clock;
  readonly #ending: AbortController;
  /** Publishes on their way; each is rejected when the connection falls. */
  readonly #pending = new Set<(reason: PipitError) => void>();
  /** Publishes that wait for a place in flight, oldest first. */
  #queue: (() => void)[] = [];
  #inFlight = 0;
  #reason: string | undefined;

  private constructor(
    { client, clock, ending }: { client: MqttClient; clock: Clock; ending: AbortController },
    version: ProtocolVersion,
    sessionPresent: boolean,
  ) {
    this.#client = client;
    this.#clock = clock;
    this.#ending = ending;
    this.version = version;
    this.sessionPresent = sessionPresent;
    client.on("error", (error) => (this.#reason ??= error.message));
    client.on("disconnect", (packet) => (this.#reason ??= disconnectReason(packet.reasonCode)));
    this.closed = new Promise((resolve) => client.once("close", () => resolve(this.#fall())));
  }

  /** Resolves after CONNACK; rejects with a `transient` PipitError (see faults.ts) or, for an impossible URL, a `config` one. */
  static async open(
    url: string,
    options: IClientOptions,
    receive: Receiver,
    clock: Clock,
    signal: AbortSignal,
  ): Promise<Connection> {
    signal.throwIfAborted();
    const version: ProtocolVersion = options.protocolVersion === 5 ? 5 : 4;
    const client = startClient(url, options);
    containFaults(client);
    const ending = new AbortController();
    acknowledgeLate(client, lateAckOptions(options, clock), (packet, arrivedMs, acknowledge) => {
      // Whoever rejects has said why; here it only means that there is no PUBACK.
      receive(incomingMessage(packet, arrivedMs), ending.signal).then(acknowledge, () => {});
    });
    const abort = () => client.end(true);
    signal.addEventListener("abort", abort, { once: true });
    try {
      const sessionPresent = await connected(client);
      return new Connection({ client, clock, ending }, version, sessionPresent);
    } catch (error) {
      ending.abort();
      client.end(true);
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /**
   * Every filter with what the broker granted. Retained messages are not asked for where the protocol lets us choose.
   * `identifierOf` numbers the subscriptions where the protocol and the broker know numbers.
   */
  async subscribe(filters: readonly string[], identifierOf?: (filter: string) => number): Promise<Subscription[]> {
    const numbered = this.version === 5 && this.#client.serverProperties?.subscriptionIdentifiersAvailable !== false;
    if (!numbered || !identifierOf) return this.#subscribe(filters);
    // The number belongs to the packet, not to the filter.
    return (await Promise.all(filters.map((filter) => this.#subscribe([filter], identifierOf(filter))))).flat();
  }

  #subscribe(filters: readonly string[], subscriptionIdentifier?: number): Promise<Subscription[]> {
    const wanted: ISubscriptionMap = {};
    for (const filter of filters) {
      // No-local on a shared subscription is a protocol error (MQTT 5 §3.8.3.1).
      wanted[filter] = { qos: 1, nl: !filter.startsWith("$share/"), rap: false, rh: 2 };
    }
    return this.#whileUp((resolve, reject) => {
      const options = subscriptionIdentifier === undefined ? {} : { properties: { subscriptionIdentifier } };
      this.#client.subscribe(wanted, options, (error, subscriptions, packet) => {
        const granted = packet?.granted ?? (error as { packet?: { granted?: unknown[] } } | null)?.packet?.granted;
        if (granted === undefined || subscriptions === undefined) {
          reject(new PipitError("transient", "subscribe_failed", toError(error).message, { cause: error }));
          return;
        }
        resolve(subscriptions.map(({ topic }, index) => ({ filter: topic, granted: Number(granted[index]) })));
      });
    });
  }

  /** Ends subscriptions; also of filters that the broker does not know. */
  unsubscribe(filters: readonly string[]): Promise<void> {
    return this.#whileUp((resolve, reject) => {
      this.#client.unsubscribe([...filters], (error, packet) => {
        // Reason codes of MQTT 5, which MQTT.js does not look at; 3.1.1 has none and cannot refuse.
        const refused = (packet as { granted?: number[] } | undefined)?.granted?.find((code) => code >= 0x80);
        const fault = error?.message ?? (refused === undefined ? undefined : `refused with reason code ${refused}`);
        if (fault === undefined) resolve();
        else reject(new PipitError("transient", "unsubscribe_failed", fault, { cause: error }));
      });
    });
  }

  /** Resolves on PUBACK. At most min(receive maximum of the server, 8) are in flight, the rest wait in order. */
  async publish(message: PublishMessage): Promise<void> {
    const fault = topicFault(message.topic);
    if (fault !== undefined) throw new PipitError("request", "bad_request", `topic "${message.topic}" ${fault}`);
    const limit = this.#client.serverProperties?.maximumPacketSize;
    const bytes = packetBytes(message);
    if (limit !== undefined && bytes > limit) {
      const sentence = `a message of ${bytes} bytes to ${message.topic} exceeds the broker's limit of ${limit} bytes`;
      throw new PipitError("request", "too_large", sentence);
    }
    await this.#takePlace();
    const release = this.#clock.after(ACKNOWLEDGE_TIMEOUT_MS, () =>
      this.cut(`the broker has not acknowledged a message for ${ACKNOWLEDGE_TIMEOUT_MS / 1000} s`),
    );
    try {
      await this.#whileUp<void>((resolve, reject) => {
        const options = publishOptions(message, this.version);
        this.#client.publish(message.topic, message.payload as Buffer, options, (error) => {
          if (error) reject(publishFault(error, message.topic));
          else resolve();
        });
      });
    } finally {
      release();
      // The place goes straight to the oldest that waits: one who comes in between must not find it free.
      const next = this.#queue.shift();
      if (next) next();
      else this.#inFlight -= 1;
    }
  }

  /** DISCONNECT when all publishes are acknowledged; cuts the socket if that has not happened before `deadline`. */
  async close(deadline: Promise<unknown>): Promise<void> {
    this.#reason ??= "closed by us";
    this.#client.end(false);
    await Promise.race([this.closed, deadline]);
    this.cut("closed by us");
    await this.closed;
  }

  /** Ends the connection at once, without a farewell: the broker publishes the will. */
  cut(reason: string): void {
    this.#reason ??= reason;
    this.#client.stream.destroy();
  }

  async #takePlace(): Promise<void> {
    const limit = Math.min(this.#client.serverProperties?.receiveMaximum ?? MAX_IN_FLIGHT, MAX_IN_FLIGHT);
    if (this.#inFlight >= limit || this.#queue.length > 0) {
      await this.#whileUp<void>((resolve) => this.#queue.push(resolve));
    } else {
      this.#inFlight += 1;
    }
  }

  #whileUp<T>(run: (resolve: (value: T) => void, reject: (reason: PipitError) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#ending.signal.aborted) {
        reject(linkDown(this.#reason ?? "connection closed"));
        return;
      }
      const pending = (reason: PipitError) => reject(reason);
      this.#pending.add(pending);
      run(
        (value) => {
          this.#pending.delete(pending);
          resolve(value);
        },
        (reason) => {
          this.#pending.delete(pending);
          reject(reason);
        },
      );
    });
  }

  #fall(): string {
    const reason = this.#reason ?? "the broker closed the connection";
    this.#ending.abort();
    this.#queue = [];
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const reject of pending) reject(linkDown(reason));
    return reason;
  }
}

/** A window that we have asked for ourselves always fits. */
function lateAckOptions({ properties = {} }: IClientOptions, clock: Clock): LateAckOptions {
  const { receiveMaximum = 0, maximumPacketSize = 0 } = properties;
  return {
    maxMessages: Math.max(MAX_UNACKNOWLEDGED, receiveMaximum),
    maxBytes: Math.max(MAX_UNACKNOWLEDGED_BYTES, receiveMaximum * (maximumPacketSize + MESSAGE_BYTES)),
    nowMs: () => clock.nowMs(),
  };
}

function startClient(url: string, options: IClientOptions): MqttClient {
  try {
    const client = mqtt.connect(url, {
      ...options,
      ...OLDEST_TLS,
      // A fresh object: MQTT.js adds keys and certificates to it.
      wsOptions: { ...OLDEST_TLS },
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      messageIdProvider: new mqtt.UniqueMessageIdProvider(),
    });
    // Nagle's algorithm costs 44 ms a round trip; `ws` switches it off by itself.
    const socket = client.stream as { setNoDelay?: (on: boolean) => void };
    socket.setNoDelay?.(true);
    return client;
  } catch (error) {
    throw new PipitError("config", "broker_url", `broker URL ${withoutSecrets(url)}: ${toError(error).message}`, {
      cause: error,
    });
  }
}

/** Waits for CONNACK; resolves with session present. */
function connected(client: MqttClient): Promise<boolean> {
  return new Promise((resolve, reject) => {
    let last: unknown = new Error("the broker closed the connection before it answered");
    const onError = (error: unknown) => (last = error);
    const onClose = () => {
      client.off("error", onError);
      reject(connectFault(last));
    };
    client.on("error", onError);
    client.once("close", onClose);
    client.once("connect", (packet) => {
      client.off("error", onError);
      client.off("close", onClose);
      resolve(packet.sessionPresent);
    });
  });
}

function disconnectReason(code: number | undefined): string {
  if (code === 0x8e) return "another client took over the session: is the device id used twice?";
  return `the broker sent DISCONNECT with reason code ${code ?? 0}`;
}
