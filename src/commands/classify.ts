// `pipit classify`: the label of a text, from an agent over MQTT.
import type { ClassifyOptions, LabelReply } from "../mqtt/client.ts";
import { QUESTION_HELP, QUESTION_OPTIONS, runQuestion } from "./asking.ts";
import type { Here } from "./asking.ts";
import type { Command } from "./command.ts";
import { here } from "./here.ts";

const options = {
  ...QUESTION_OPTIONS,
  label: { type: "string", multiple: true },
} as const;

const help = (local: boolean) => `Usage: pipit classify TEXT… [options]

Asks an agent over MQTT which label fits a text. Prints the label, or nothing when none fits well enough.

      --label NAME        a label to choose from, instead of those of the route; repeat it for each
${local ? "      --local             classify here, with a model in this process, without a broker\n" : ""}${QUESTION_HELP}`;

export function classifyCommand(here?: Here<LabelReply, ClassifyOptions>): Command {
  return {
    name: "classify",
    summary: "ask an agent for the label of a text",
    help: help(here !== undefined),
    options: here ? { ...options, local: { type: "boolean" } } : options,
    run(context) {
      const labels = context.values["label"];
      return runQuestion<LabelReply, ClassifyOptions>(context, {
        example: "pipit classify It is too dark --label light --label heating",
        options: () => (Array.isArray(labels) ? { labels: labels.map(String) } : {}),
        ask: (client, text, options) => client.classify(text, options),
        here,
        show: ({ label }) => context.stdout(`${label ?? ""}\n`),
      });
    },
  };
}

export const command: Command = classifyCommand(here("classify", ({ labels }) => ({ labels })));
