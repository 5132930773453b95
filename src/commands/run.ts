// `pipit run`: the daemon. Everything it does is in app.ts; here are its configuration, its log and its end.
import type { AppOptions } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { aborted, Daemon } from "../daemon.ts";
import { createLogger } from "../logger.ts";
import { version } from "../version.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";

export const command: Command = {
  name: "run",
  summary: "answer questions from the bus, until it is told to stop",
  help: `Usage: pipit run [--config FILE] [options]

Connects to the broker, loads the model and answers. Works without a configuration file. Stops cleanly on SIGTERM and
SIGINT, within 5 seconds; reads its configuration again on SIGHUP. --json writes the log as JSON.

${CONFIG_HELP}`,
  options: CONFIG_OPTIONS,
  async run({ values, env, json, signal, onHangup, stdout, isTty }) {
    const daemon = await Daemon.create({
      configure: () => configure({ values, env, json, isTty }),
      env,
      pid: process.pid,
      clock: systemClock,
    });
    onHangup?.(() => void daemon.reload());
    try {
      await daemon.start(signal);
      if (values["embedded"] === true) stdout(`embedded broker: ${daemon.app.brokerUrl}\n`);
      await aborted(signal);
    } finally {
      await daemon.stop();
    }
    return EXIT.ok;
  },
};

type Inputs = Pick<CommandContext, "values" | "env" | "json" | "isTty">;

async function configure({ values, env, json, isTty }: Inputs): Promise<AppOptions> {
  const { config, warnings, secret } = loadConfig({ env, args: values });
  const log = await createLogger({ ...config.log, ...(json && { format: "json" as const }) }, isTty);
  for (const warning of warnings) log.warn({}, warning);
  return { config, secret, version, log, clock: systemClock };
}
