// Reads what a broker has retained, and leaves: for commands that look at the agents of a site without being one. No session,
// no will, nothing is repeated.
import { connectAsync } from "mqtt";
import { PipitError } from "../core/errors.ts";
import { connectFault } from "./faults.ts";
import { clientOptions, type LinkOptions, resolveLinkOptions } from "./link-options.ts";

export type RetainedOptions = Pick<
  LinkOptions,
  "url" | "clientId" | "username" | "password" | "tls" | "connectTimeoutMs"
>;

/** Payloads by topic. Brokers send retained messages at once: `quietMs` without one ends it. Rejects `transient`. */
export async function readRetained(
  options: RetainedOptions,
  filters: string[],
  quietMs: number,
): Promise<Map<string, string>> {
  const resolved = resolveLinkOptions({ ...options, filters, availabilityTopic: "unused" });
  const { will: _will, properties: _properties, ...plain } = await clientOptions(resolved, 4);
  const client = await connectAsync(options.url, { ...plain, clean: true, reconnectPeriod: 0 }, false).catch(
    (thrown: unknown) => {
      throw connectFault(thrown);
    },
  );
  const found = new Map<string, string>();
  try {
    await new Promise<void>((resolve, reject) => {
      let timer = setTimeout(resolve, quietMs);
      client.on("message", (topic, payload, { retain }) => {
        if (!retain) return;
        found.set(topic, payload.toString("utf8"));
        clearTimeout(timer);
        timer = setTimeout(resolve, quietMs);
      });
      client.on("close", () => reject(new PipitError("transient", "unreachable", "the broker closed the connection")));
      client.subscribeAsync(filters, { qos: 0 }).catch(reject);
    });
  } finally {
    client.removeAllListeners("close");
    await client.endAsync(true);
  }
  return found;
}
