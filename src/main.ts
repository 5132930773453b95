#!/usr/bin/env node
// The edge of the program: arguments, signals, exit codes. The only place that ends the process.
import { parseArgs } from "node:util";
import { type Command, type CommandContext, EXIT } from "./commands/command.ts";
import { PipitError, toError } from "./core/errors.ts";
import { keepHeapSmall } from "./small-heap.ts";
import { version } from "./version.ts";

keepHeapSmall();

/** Loaded when called for: `pipit ask` need not read what `pipit run` needs. */
const COMMANDS: Record<string, () => Promise<{ command: Command }>> = {
  run: () => import("./commands/run.ts"),
  calibrate: () => import("./commands/calibrate.ts"),
  demo: () => import("./commands/demo.ts"),
  ask: () => import("./commands/ask.ts"),
  classify: () => import("./commands/classify.ts"),
  models: () => import("./commands/models.ts"),
  eval: () => import("./commands/eval.ts"),
  classifier: () => import("./commands/classifier.ts"),
  doctor: () => import("./commands/doctor.ts"),
  status: () => import("./commands/status.ts"),
  exam: () => import("./commands/exam.ts"),
  "self-test": () => import("./commands/self-test.ts"),
  replay: () => import("./commands/replay.ts"),
  journal: () => import("./commands/journal.ts"),
  "check-config": () => import("./commands/check-config.ts"),
};

/** An answer that is still being written when the second signal comes is not waited for. */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "help" || name === "--help" || name === "-h") {
    process.stdout.write(await overview());
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  if (name === "--version" || name === "version") {
    process.stdout.write(`pipit ${version}\n`);
    return EXIT.ok;
  }
  const load = COMMANDS[name];
  if (load === undefined) return usage(`there is no command ${JSON.stringify(name)}`, "pipit --help lists them");
  return runCommand((await load()).command, rest);
}

async function runCommand(command: Command, args: string[]): Promise<number> {
  let parsed;
  try {
    const options = { ...command.options, help: { type: "boolean", short: "h" }, json: { type: "boolean" } } as const;
    parsed = parseArgs({ args, options, allowPositionals: true, strict: true });
  } catch (error) {
    return usage(toError(error).message, `pipit ${command.name} --help shows what it takes`);
  }
  const values = parsed.values as CommandContext["values"];
  if (values["help"] === true) {
    process.stdout.write(command.help.endsWith("\n") ? command.help : `${command.help}\n`);
    return EXIT.ok;
  }
  return command.run({
    values,
    positionals: parsed.positionals,
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
    json: values["json"] === true,
    signal: signalled(),
    onHangup: (run) => void process.on("SIGHUP", run),
    env: process.env,
    isTty: process.stdout.isTTY === true,
  });
}

/** The first signal asks for a clean stop, the second one ends the process. */
function signalled(): AbortSignal {
  const controller = new AbortController();
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(signal === "SIGINT" ? 130 : 143);
      controller.abort();
    });
  }
  return controller.signal;
}

async function overview(): Promise<string> {
  const commands = await Promise.all(Object.values(COMMANDS).map(async (load) => (await load()).command));
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `pipit ${version}: a small language model on an MQTT bus

Usage: pipit <command> [options]

${lines.join("\n")}

pipit <command> --help shows the options of a command; every command takes --json.
`;
}

function usage(problem: string, hint: string): number {
  process.stderr.write(`pipit: ${problem}; ${hint}\n`);
  return EXIT.usage;
}

function exitCodeOf(error: Error): number {
  if (!(error instanceof PipitError)) return EXIT.bug;
  const codes = { config: EXIT.config, transient: EXIT.temporary, request: EXIT.failed, bug: EXIT.bug };
  return codes[error.kind];
}

/** What a person can act on is said in a sentence; a stack is for what only we can mend. */
function report(error: Error): void {
  const ours = error instanceof PipitError && error.kind !== "bug";
  process.stderr.write(ours ? `pipit: ${error.message}\n` : `pipit: this is a bug: ${error.stack ?? error.message}\n`);
}

/** Ends the process once what was written has left it: a pipe takes its time. */
async function exit(code: number): Promise<never> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((done) => stream.write("", done))));
  process.exit(code);
}

try {
  await exit(await main(process.argv.slice(2)));
} catch (thrown) {
  const error = toError(thrown);
  report(error);
  await exit(exitCodeOf(error));
}
