// Log lines: JSON for the journal, pretty for people at a terminal. Secrets and, above debug, texts of questions stay out.
import { destination, pino, type DestinationStream } from "pino";
import type { Config } from "./config/schema.ts";
import type { Logger } from "./core/ports.ts";

/** Field names whose values are never written, at the top and one level down. */
const SECRET_FIELDS = ["password", "token", "api_key", "apiKey", "authorization", "payload"];

/** Writes to standard error, so that standard output belongs to what a command prints. */
export async function createLogger(settings: Config["log"], isTty: boolean): Promise<Logger> {
  const format = settings.format === "auto" ? (isTty ? "pretty" : "json") : settings.format;
  const paths = [...SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), ...settings.redact];
  const logger: Logger = pino(
    { level: settings.level, redact: { paths, censor: "[hidden]" }, base: null },
    format === "pretty" ? (await prettyStream()).stream : destination({ fd: 2, sync: true }),
  );
  return logger;
}

async function prettyStream(): Promise<{ stream: DestinationStream }> {
  const { default: pretty } = await import("pino-pretty");
  const options = { destination: 2, sync: true, translateTime: "HH:MM:ss.l", ignore: "pid,hostname", singleLine: true };
  // The stream has a `then` of its own, which a promise would follow: it travels in a box.
  return { stream: pretty(options) };
}
