// `pipit run`: the daemon. Everything it does is in app.ts; here are its configuration, its log and its end.
import { App } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { createLogger } from "../logger.ts";
import { version } from "../version.ts";
import { type Command, EXIT } from "./command.ts";

export const command: Command = {
  name: "run",
  summary: "answer questions from the bus, until it is told to stop",
  help: `Usage: pipit run [--config FILE] [options]

Connects to the broker, loads the model and answers. Works without a configuration file. Stops cleanly on SIGTERM and
SIGINT, within 5 seconds. --json writes the log as JSON.

${CONFIG_HELP}`,
  options: CONFIG_OPTIONS,
  async run({ values, env, json, signal, stdout, isTty }) {
    const { config, warnings, secret } = loadConfig({ env, args: values });
    const log = await createLogger({ ...config.log, ...(json && { format: "json" as const }) }, isTty);
    for (const warning of warnings) log.warn({}, warning);
    const app = new App({ config, secret, version, log, clock: systemClock });
    try {
      await app.start(signal);
      if (config.broker.embedded) stdout(`embedded broker: ${app.brokerUrl}\n`);
      await signalled(signal);
      log.info({}, "stopping");
    } finally {
      await app.stop();
    }
    return EXIT.ok;
  },
};

function signalled(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
