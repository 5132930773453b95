// `pipit demo`: an agent with its own broker in this process, asked over MQTT like any other, for the first minute with Pipit.
import { App } from "../app.ts";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { systemClock } from "../core/clock.ts";
import { aborted } from "../daemon.ts";
import { createLogger } from "../logger.ts";
import { createPipitClient, type AnswerReply, type LabelReply, type PipitClient } from "../mqtt/client.ts";
import { version } from "../version.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";

const QUESTION = "What is the capital of France?";
const SENTENCE = "It is too dark in the living room.";
const LABELS = [
  { name: "lights", description: "lamps, brightness, it is dark or too bright" },
  { name: "climate", description: "heating, temperature, it is cold or hot" },
  { name: "music", description: "songs, radio, volume" },
];
/** The model is read from disk, perhaps an SD card. */
const READY_MS = 120_000;

export const command: Command = {
  name: "demo",
  summary: "start an agent with its own broker, ask it a question, show what it chose",
  help: `Usage: pipit demo [--question "…"] [--keep] [options]

      --question TEXT         what to ask (${QUESTION})
      --keep                  leave the agent running and print lines for mosquitto_pub and mosquitto_sub

${CONFIG_HELP}`,
  options: { ...CONFIG_OPTIONS, question: { type: "string" }, keep: { type: "boolean" } },
  async run(context) {
    const { values, env, signal } = context;
    const base = { "broker.embedded": "true", "broker.embedded_port": "0", "journal.durability": "memory" };
    const set = [
      ...Object.entries(base).map(([key, value]) => `${key}=${value}`),
      ...((values["set"] as string[]) ?? []),
    ];
    const { config, secret } = loadConfig({ env, args: { ...values, set } });
    const log = await createLogger({ ...config.log, level: "warn" }, context.isTty);
    const app = new App({ config, secret, version, log, clock: systemClock });
    const client = await started(app, config.device.id, config.device.baseTopic, signal);
    try {
      const result = await converse(client, app, context);
      if (context.json) context.stdout(`${JSON.stringify(result, null, 2)}\n`);
      if (values["keep"] === true) {
        context.stdout(keepText(app.brokerUrl, `${config.device.baseTopic}/${config.device.id}`));
        await aborted(signal);
      }
    } finally {
      await client.close();
      await app.stop();
    }
    return EXIT.ok;
  },
};

async function started(app: App, device: string, base: string, signal: AbortSignal): Promise<PipitClient> {
  try {
    await app.start(signal);
    return createPipitClient({ url: app.brokerUrl, device, base });
  } catch (error) {
    await app.stop();
    throw error;
  }
}

async function converse(client: PipitClient, app: App, context: CommandContext) {
  const say = (text: string) => (context.json ? undefined : context.stdout(text));
  const question = typeof context.values["question"] === "string" ? context.values["question"] : QUESTION;
  const options = { signal: context.signal, deadlineMs: READY_MS };
  say(`Agent and broker run at ${app.brokerUrl}; the model is loading…\n\nYou:    ${question}\nPipit:  `);
  const answer = await client.ask(question, { ...options, stream: say });
  say(`\n        ${receipt(answer)}\n\nYou:    classify "${SENTENCE}"\n`);
  const label = await client.classify(SENTENCE, { ...options, labels: LABELS });
  say(`Pipit:  ${labelText(label)}\n        ${receipt(label)}\n\n`);
  const state = app.describe() as DemoState;
  say(stateText(state));
  return { answer, label, state };
}

interface DemoState {
  model: { name: string; load_ms: number; rss_bytes: number };
  plan: { threads: number; threads_prefill: number; context_tokens: number; sequences: number; reason: string };
  cpu: { cores: number; allowed_cores: number; foreign_cores: number };
  memory: { available_bytes: number };
  speed: { prefill_tokens_per_second?: number; decode_tokens_per_second?: number };
}

function stateText({ model, plan, cpu, memory, speed }: DemoState): string {
  const perSecond = (value: number | undefined) =>
    value === undefined ? "not measured" : `${Math.round(value)} tokens/s`;
  const rows: [string, string][] = [
    ["cores", `${cpu.cores}, of which ${cpu.allowed_cores} may be used; neighbours use ${cpu.foreign_cores}`],
    ["memory", `${mib(memory.available_bytes)} MiB available, the model's process takes ${mib(model.rss_bytes)} MiB`],
    ["model", `${model.name}, loaded in ${(model.load_ms / 1000).toFixed(1)} s`],
    ["threads", `${plan.threads} to write, ${plan.threads_prefill} to read (${plan.reason})`],
    ["context", `${plan.context_tokens} tokens, ${plan.sequences} questions side by side`],
    [
      "speed",
      `reads ${perSecond(speed.prefill_tokens_per_second)}, writes ${perSecond(speed.decode_tokens_per_second)}`,
    ],
  ];
  return `What the agent measured and chose:\n${rows.map(([name, text]) => `  ${name.padEnd(8)} ${text}\n`).join("")}`;
}

function receipt({ usage, timing_ms: timing }: AnswerReply | LabelReply): string {
  const cached = usage.cached_tokens > 0 ? `, ${usage.cached_tokens} of them cached` : "";
  return `(${usage.prompt_tokens} tokens read${cached}, ${usage.completion_tokens} written, ${Math.round(timing.total)} ms)`;
}

function labelText({ label, probabilities }: LabelReply): string {
  const others = Object.entries(probabilities).map(([name, share]) => `${name} ${(100 * share).toFixed(0)} %`);
  return `${label ?? "none of them"} (${others.join(", ")})`;
}

function keepText(url: string, root: string): string {
  const { hostname, port } = new URL(url);
  const at = `-h ${hostname} -p ${port}`;
  return `
The agent goes on; press Ctrl-C to stop it. In other terminals:
  mosquitto_sub ${at} -v -t '${root}/#'
  mosquitto_pub ${at} -t '${root}/ask' -m 'Who wrote Romeo and Juliet?'
  mosquitto_pub ${at} -t '${root}/classify' -m '{"text": "turn it up", "labels": ["lights", "music"]}'
`;
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
