// What `pipit ask` and `pipit classify` have in common: the way to the agent, the options of a question, and what every end of
// it means for the exit code. Answers go to stdout, everything else to stderr.
import { readFile } from "node:fs/promises";
import { loadConfig } from "../config/load.ts";
import { CONFIG_OPTIONS } from "../config/outside.ts";
import { PipitError, toError } from "../core/errors.ts";
import { createPipitClient, ReplyError } from "../mqtt/client.ts";
import type { PipitClient, PipitClientOptions, QuestionOptions, ReplyJson } from "../mqtt/client.ts";
import { type CommandContext, type CommandOptions, EXIT } from "./command.ts";

/** Nobody has answered in time; unlike all other ends, the same question may be answered later. */
export const NO_ANSWER = 3;

const DEFAULT_DEADLINE_MS = 60_000;
/** A broker that can be reached answers in milliseconds; a slow network gets this long. */
const CONNECT_MS = 5_000;

export const QUESTION_OPTIONS = {
  ...Object.fromEntries(
    ["config", "set", "broker", "device"].map((name) => [name, CONFIG_OPTIONS[name] ?? { type: "string" }]),
  ),
  base: { type: "string" },
  topic: { type: "string" },
  id: { type: "string" },
  "deadline-ms": { type: "string" },
} satisfies CommandOptions;

export const QUESTION_HELP = `      --broker URL        broker to ask over (broker.url of the configuration)
      --device ID         agent to ask (device.id of the configuration: the one of this machine)
      --base TOPIC        first part of all topics (device.base_topic)
      --topic TOPIC       ask on the topic of a route of its own
      --id ID             name of the question; the same id and text is answered only once
      --deadline-ms N     longest wait for the reply (${DEFAULT_DEADLINE_MS})
      --config FILE       configuration file, for broker, user, password and certificates; also PIPIT_CONFIG
      --set SECTION.KEY=VALUE
      --json              the reply as JSON

Exit codes: 0 answered, 1 refused or failed (the reply says why), ${NO_ANSWER} no answer in time, ${EXIT.unavailable} broker not reachable.
`;

/** Does the same with a model in this process, without a broker. */
export type Here<R, O> = (text: string, options: O, context: CommandContext) => Promise<R>;

export interface Asking<R extends ReplyJson, O extends QuestionOptions> {
  /** Shown to whoever gives no text. */
  example: string;
  /** Options beyond those of every question. */
  options(): Omit<O, keyof QuestionOptions>;
  /** Sends the question. */
  ask(client: PipitClient, text: string, options: O): Promise<R>;
  /** Taken with --local. */
  here: Here<R, O> | undefined;
  /** Prints an answer, without --json. */
  show(reply: R): void;
}

/** From the command line to the exit code. */
export async function runQuestion<R extends ReplyJson, O extends QuestionOptions>(
  context: CommandContext,
  asking: Asking<R, O>,
): Promise<number> {
  const text = context.positionals.join(" ");
  if (text.trim() === "") {
    context.stderr(`there is no text. For example: ${asking.example}\n`);
    return EXIT.usage;
  }
  try {
    const common = questionOptions(context);
    const options = { ...common, ...asking.options() } as O;
    const local = context.values["local"] === true ? asking.here : undefined;
    const reply = local
      ? await local(text, options, context)
      : await overMqtt(context, common.deadlineMs, (client) => asking.ask(client, text, options));
    if (context.json) context.stdout(`${JSON.stringify(reply)}\n`);
    else asking.show(reply);
    return EXIT.ok;
  } catch (error) {
    return explained(context, error);
  }
}

/** Rejects with a `transient` PipitError `unreachable` when there is no broker in time. */
export async function overMqtt<R>(
  context: CommandContext,
  deadlineMs: number,
  ask: (client: PipitClient) => Promise<R>,
): Promise<R> {
  const client = createPipitClient(await clientOptions(context));
  try {
    await client.connected(Math.min(CONNECT_MS, deadlineMs), context.signal);
    return await ask(client);
  } finally {
    await client.close();
  }
}

/** Says what went wrong; throws what is no end of a question. */
function explained({ json, stdout, stderr, signal }: CommandContext, thrown: unknown): number {
  if (signal.aborted) return EXIT.failed;
  const error = toError(thrown);
  if (!(error instanceof PipitError) || error.kind === "config" || error.kind === "bug") throw error;
  const reply =
    error instanceof ReplyError
      ? error.reply
      : { status: "error", error: { code: error.code, message: error.message } };
  if (json) stdout(`${JSON.stringify(reply)}\n`);
  else stderr(`${error.code}: ${error.message}\n`);
  if (error.code === "usage") return EXIT.usage;
  if (error.code === "unreachable") return EXIT.unavailable;
  return error.code === "no_answer" ? NO_ANSWER : EXIT.failed;
}

function questionOptions({ values, signal }: CommandContext): QuestionOptions & { deadlineMs: number } {
  const options: QuestionOptions & { deadlineMs: number } = {
    deadlineMs: numberOf(values, "deadline-ms", 1, 86_400_000) ?? DEFAULT_DEADLINE_MS,
    signal,
  };
  if (typeof values["id"] === "string") options.id = values["id"];
  if (typeof values["topic"] === "string") options.topic = values["topic"];
  return options;
}

/** A number given as text; a PipitError of kind `request` names the option and its bounds. */
export function numberOf(
  values: CommandContext["values"],
  name: string,
  least: number,
  most: number,
): number | undefined {
  const text = values[name];
  if (typeof text !== "string") return undefined;
  const value = Number(text);
  if (text.trim() !== "" && value >= least && value <= most) return value;
  throw new PipitError("request", "usage", `--${name} must be a number from ${least} to ${most}, got ${text}`);
}

async function clientOptions({ values, env, stderr }: CommandContext): Promise<PipitClientOptions> {
  const base = values["base"];
  const set = [values["set"] ?? [], typeof base === "string" ? `device.base_topic=${base}` : []].flat();
  const { config, warnings, secret } = loadConfig({ env, args: { ...values, set } });
  for (const warning of warnings) stderr(`warning: ${warning}\n`);
  const { broker, device } = config;
  const { caFile, certFile, keyFile, insecure } = broker;
  // With the embedded broker of the agent on this machine there is no other address to know.
  const here = `mqtt://${broker.embeddedHost === "0.0.0.0" ? "127.0.0.1" : broker.embeddedHost}:${broker.embeddedPort}`;
  return {
    url: broker.embedded && values["broker"] === undefined ? here : broker.url,
    device: device.id,
    base: device.baseTopic,
    username: broker.username,
    password: secret("broker.password"),
    protocol: broker.protocolVersion === "auto" ? "auto" : broker.protocolVersion === 5 ? "5" : "3.1.1",
    tls: { ca: await pem(caFile), cert: await pem(certFile), key: await pem(keyFile), insecure },
  };
}

async function pem(file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : await readFile(file, "utf8");
}
