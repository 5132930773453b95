// `pipit status`: what the agents on a broker last said of themselves, from their retained topics. One board, or with --all
// every board of the site; the fleet's eye over MQTT.
import { randomUUID } from "node:crypto";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { topicsOf } from "../core/topics.ts";
import { readRetained } from "../mqtt/retained.ts";
import { type Command, EXIT } from "./command.ts";

/** Retained messages arrive at once; this long without one means that there are no more. */
const QUIET_MS = 400;

interface AgentStatus {
  device: string;
  availability: string;
  state: Record<string, unknown> | undefined;
}

export const command: Command = {
  name: "status",
  summary: "what the agents on the broker say of themselves",
  help: `Usage: pipit status [--all] [--json]

Reads the retained availability and state of this board's agent, or with --all of every agent on the broker. Exit 0 when
all of them are online, 1 when one is not or none was found.

  --all    every device under device.base_topic

${CONFIG_HELP}`,
  options: { ...CONFIG_OPTIONS, all: { type: "boolean" } },
  async run({ env, values, json, stdout }) {
    const { config, secret } = loadConfig({ env, args: values });
    const { broker, device } = config;
    const { availability, state } = topicsOf(device.baseTopic, values["all"] === true ? "+" : device.id);
    const { url, username, connectTimeoutMs, caFile, certFile, keyFile, insecure } = broker;
    const tls = { caFile, certFile, keyFile, insecure };
    const password = secret("broker.password");
    const options = { url, clientId: `status-${randomUUID()}`, username, password, tls, connectTimeoutMs };
    const found = await readRetained(options, [availability, state], QUIET_MS);
    const agents = agentsOf(found, device.baseTopic);
    stdout(json ? `${JSON.stringify(agents)}\n` : agents.map(line).join(""));
    return agents.length > 0 && agents.every((agent) => agent.availability === "online") ? EXIT.ok : EXIT.failed;
  },
};

function agentsOf(retained: Map<string, string>, base: string): AgentStatus[] {
  const agents = new Map<string, AgentStatus>();
  for (const [topic, payload] of retained) {
    const [device = "", word] = topic.slice(base.length + 1).split("/");
    const agent = agents.get(device) ?? { device, availability: "unknown", state: undefined };
    agents.set(device, agent);
    if (word === "availability") agent.availability = payload;
    if (word === "state") agent.state = JSON.parse(payload) as Record<string, unknown>;
  }
  return [...agents.values()].sort((a, b) => a.device.localeCompare(b.device));
}

function line({ device, availability, state }: AgentStatus): string {
  const model = state?.["model"] as { name?: string; state?: string } | undefined;
  const speed = state?.["speed"] as { decode_tokens_per_second?: number } | undefined;
  const pace = speed?.decode_tokens_per_second === undefined ? "" : `, ${speed.decode_tokens_per_second} tokens/s`;
  return `${device}: ${availability}, model ${model?.name ?? "unknown"} ${model?.state ?? ""}${pace}\n`;
}
