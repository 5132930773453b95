// What a command of the `pipit` program is. main.ts finds it by name, parses its arguments with `options`, answers --help
// from `help`, and exits with the number `run` resolves to. A command writes only through the context, so that tests read
// what it prints, and never exits by itself.
import type { ParseArgsConfig } from "node:util";

/** Options as `node:util` parseArgs reads them; `help` (-h) and `json` are added to every command by main.ts. */
export type CommandOptions = NonNullable<ParseArgsConfig["options"]>;

export interface CommandContext {
  /** Values of the command's options, by long name. */
  values: Record<string, string | boolean | (string | boolean)[] | undefined>;
  positionals: string[];
  stdout: (text: string) => void;
  stderr: (text: string) => void;
  /** --json was given: print one JSON document on stdout and nothing else there. */
  json: boolean;
  /** Fires at the first SIGINT or SIGTERM. */
  signal: AbortSignal;
  /** Calls `run` at each SIGHUP; without it the signal ends the process as usual. */
  onHangup?: (run: () => void) => void;
  env: NodeJS.ProcessEnv;
  /** Standard output is a terminal: colours and progress bars are welcome. */
  isTty: boolean;
}

export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** Usage and options, printed by --help. */
  help: string;
  options: CommandOptions;
  /**
   * Resolves to the exit code, see EXIT. A thrown PipitError is printed by main.ts and exits by its kind: `config` 78,
   * `transient` 75, `request` 1, `bug` 70.
   */
  run(context: CommandContext): Promise<number>;
}

/** Exit codes, after sysexits.h where it has one; systemd does not restart on `config`. */
export const EXIT = {
  ok: 0,
  /** It ran and the answer is no: a check failed, a question was refused. */
  failed: 1,
  usage: 64,
  unavailable: 69,
  bug: 70,
  temporary: 75,
  config: 78,
} as const;
