// `pipit check-config`: what `pipit run` would make of a configuration. All problems at once, or the effective values and
// where each one comes from. Of secrets it knows and prints the file names only.
import { classifiersOf } from "../classification.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { checkConfig, loadConfig, type LoadRequest, problemText } from "../config/load.ts";
import { effectiveText } from "../config/reference.ts";
import { type Problem, problemLine } from "../config/setting.ts";
import { toError } from "../core/errors.ts";
import { topicsOf } from "../core/topics.ts";
import { routesOf } from "../work/routes.ts";
import { EXIT } from "./command.ts";
import type { Command, CommandContext } from "./command.ts";

const HELP = `Usage: pipit check-config [FILE] [options]

Checks a configuration file together with the environment and the options, as \`pipit run\` reads them,
and the classifiers in the folder of the state directory.
Prints every problem, or "ok" and the effective configuration with the place of each value that is no default.
Exit code 0, or 78 when something is wrong.

Options:
${CONFIG_HELP}
      --json                    one JSON document: {ok, file, problems, warnings, config, sources}
  -h, --help                    this text
`;

export const command: Command = {
  name: "check-config",
  summary: "check the configuration and show what is in effect",
  help: HELP,
  options: CONFIG_OPTIONS,
  // The check reads a few small files and is over at once: nothing to wait for.
  run: (context) => Promise.resolve(check(context)),
};

function check(context: CommandContext): number {
  const { positionals, values, env, stdout, stderr } = context;
  if (positionals.length > 1) {
    stderr(`pipit check-config takes one file, not ${positionals.length}: ${positionals.join(" ")}\n`);
    return EXIT.usage;
  }
  const request = { file: positionals[0], env, args: values };
  const { problems: written, warnings, raw, sources, file } = checkConfig(request);
  // Read only by a configuration that stands: it says where they are.
  const problems = written.length > 0 ? written : classifierProblems(request);
  const ok = problems.length === 0;
  if (context.json) {
    const effective = ok ? { config: raw, sources: Object.fromEntries(sources) } : {};
    stdout(`${JSON.stringify({ ok, file: file ?? null, problems, warnings, ...effective }, null, 2)}\n`);
    return ok ? EXIT.ok : EXIT.config;
  }
  for (const warning of warnings) stderr(`warning: ${problemLine(warning)}\n`);
  if (!ok) {
    stderr(`${problemText(problems)}\n`);
    return EXIT.config;
  }
  stdout(
    `ok${file === undefined ? ", without a configuration file" : `: ${file}`}\n\n${effectiveText(raw, sources)}\n`,
  );
  return EXIT.ok;
}

/** What keeps `pipit run` from starting besides: files of classifiers, and routes that name them. */
function classifierProblems(request: LoadRequest): Problem[] {
  const { config } = loadConfig(request);
  try {
    classifiersOf(config, routesOf(topicsOf(config.device.baseTopic, config.device.id), config));
    return [];
  } catch (error) {
    return toError(error)
      .message.split("\n")
      .map((message) => ({ key: "classifiers", message, source: "" }));
  }
}
