// Settings from outside the file: environment variables and arguments of the command line.
import { hint } from "./nearest.ts";
import { allKeys } from "./schema.ts";
import type { PlacedKey } from "./schema.ts";
import type { Problem, Setting } from "./setting.ts";
import { suggestVariable } from "./suggest.ts";

/** Variables with our prefix that are no key of the schema. */
const OTHER_VARIABLES = ["PIPIT_CONFIG"];

/** Values as `node:util` parseArgs gives them for CONFIG_OPTIONS. */
export type ArgumentValues = Readonly<Record<string, unknown>>;

interface ConfigOption {
  type: "string" | "boolean";
  short?: string;
  multiple?: boolean;
}

/** Options that every command with a configuration takes: spread them into its `options`. */
export const CONFIG_OPTIONS: Readonly<Record<string, ConfigOption>> = {
  config: { type: "string", short: "c" },
  set: { type: "string", multiple: true },
  ...Object.fromEntries(
    allKeys.flatMap(({ key }) =>
      key.shorthand === undefined ? [] : [[key.shorthand, { type: key.isFlag ? "boolean" : "string" } as const]],
    ),
  ),
};

/** Lines for the help text of such a command. */
export const CONFIG_HELP: string = [
  ["-c, --config FILE", "configuration file (YAML); also PIPIT_CONFIG"],
  ["    --set SECTION.KEY=VALUE", "set any key of docs/config.md, over file and environment; repeatable"],
  ...allKeys.flatMap(({ path, key }) =>
    key.shorthand === undefined ? [] : [[`    --${key.shorthand}${key.isFlag ? "" : " VALUE"}`, `sets ${path}`]],
  ),
]
  .map(([option = "", text = ""]) => `  ${option.padEnd(29)} ${text}`)
  .join("\n");

/** Settings of the environment, and a warning for each variable of ours that sets nothing. Empty variables count as unset. */
export function environmentSettings(env: NodeJS.ProcessEnv): { settings: Setting[]; warnings: Problem[] } {
  const settings: Setting[] = [];
  for (const placed of allKeys) {
    for (const variable of placed.variables) {
      const text = env[variable];
      if (text !== undefined && text !== "") settings.push(outside(placed.path, text, "environment", variable));
    }
  }
  const known = [...allKeys.flatMap(({ variables }) => variables), ...OTHER_VARIABLES];
  const warnings = Object.keys(env)
    .filter((name) => name.startsWith("PIPIT_") && !known.includes(name))
    .map((name) => ({ key: name, message: `sets nothing${hint(suggestVariable(name))}`, source: "environment" }));
  return { settings, warnings };
}

/** Settings of parsed arguments: shorthands, and `--set key=value` after them. */
export function argumentSettings(values: ArgumentValues): { settings: Setting[]; problems: Problem[] } {
  const settings: Setting[] = [];
  const problems: Problem[] = [];
  for (const { path, key } of allKeys.filter(hasShorthand)) {
    const value = values[key.shorthand ?? ""];
    if (typeof value === "string" || typeof value === "boolean") {
      settings.push(outside(path, value, "argument", `--${key.shorthand}`));
    }
  }
  const assignments = Array.isArray(values["set"]) ? (values["set"] as unknown[]) : [];
  for (const assignment of assignments.map(String)) {
    const equals = assignment.indexOf("=");
    const path = equals < 0 ? assignment : assignment.slice(0, equals).trim();
    if (equals < 0) problems.push({ key: path, message: "needs a value: --set section.key=value", source: "--set" });
    else settings.push(outside(path, assignment.slice(equals + 1), "argument", `--set ${path}`));
  }
  return { settings, problems };
}

function hasShorthand({ key }: PlacedKey): boolean {
  return key.shorthand !== undefined;
}

function outside(path: string, value: unknown, source: Setting["source"], name: string): Setting {
  return { path, value, source, directory: process.cwd(), where: () => name };
}
