// `pipit ask`: one question to an agent over MQTT; the answer appears as it is written.
import type { AnswerReply, AskOptions } from "../mqtt/client.ts";
import { numberOf, QUESTION_HELP, QUESTION_OPTIONS, runQuestion } from "./asking.ts";
import type { Here } from "./asking.ts";
import type { Command, CommandContext } from "./command.ts";
import { here } from "./here.ts";

const options = {
  ...QUESTION_OPTIONS,
  stream: { type: "boolean" },
  "no-stream": { type: "boolean" },
  "max-tokens": { type: "string" },
  temperature: { type: "string" },
} as const;

const help = (local: boolean) => `Usage: pipit ask QUESTION… [options]

Asks an agent over MQTT and prints its answer.

      --stream            print the answer as it is written (default on a terminal)
      --no-stream         wait for the whole answer
      --max-tokens N      longest answer
      --temperature X     0 always answers the same
${local ? "      --local             answer here, with a model in this process, without a broker\n" : ""}${QUESTION_HELP}`;

export function askCommand(here?: Here<AnswerReply, AskOptions>): Command {
  return {
    name: "ask",
    summary: "ask an agent a question",
    help: help(here !== undefined),
    options: here ? { ...options, local: { type: "boolean" } } : options,
    run(context) {
      const screen = new Screen(context.stdout);
      return runQuestion<AnswerReply, AskOptions>(context, {
        example: "pipit ask What is the capital of France?",
        options: () => generationOptions(context, screen),
        ask: (client, text, options) => client.ask(text, options),
        here,
        show: ({ text }) => screen.end(text),
      });
    },
  };
}

export const command: Command = askCommand(
  here("ask", ({ maxTokens, temperature, context }) => ({ max_tokens: maxTokens, temperature, context })),
);

function generationOptions({ values, isTty, json }: CommandContext, screen: Screen): AskOptions {
  const more: AskOptions = {};
  const stream = values["stream"] === true || (isTty && values["no-stream"] !== true);
  if (stream && !json) more.stream = (piece) => screen.add(piece);
  const maxTokens = numberOf(values, "max-tokens", 1, 1_000_000);
  if (maxTokens !== undefined) more.maxTokens = maxTokens;
  const temperature = numberOf(values, "temperature", 0, 5);
  if (temperature !== undefined) more.temperature = temperature;
  return more;
}

/** The answer on the terminal: pieces first, then whatever of the final text they have not shown. */
class Screen {
  readonly #stdout: (text: string) => void;
  #shown = "";

  constructor(stdout: (text: string) => void) {
    this.#stdout = stdout;
  }

  add(piece: string): void {
    this.#shown += piece;
    this.#stdout(piece);
  }

  end(text: string): void {
    // Pieces of an answer that was begun again after a crash may differ from it: then it is printed whole.
    const rest = text.startsWith(this.#shown) ? text.slice(this.#shown.length) : `\n${text}`;
    this.#stdout(`${rest}\n`);
  }
}
