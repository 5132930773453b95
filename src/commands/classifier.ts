// `pipit classifier`: trains, lists, measures and rolls back the classifiers of the folder `classifiers` in the state
// directory. A running agent takes up what was trained here at its next start or reload.
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { evalCommand } from "./eval.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";
import { openLocally, type OpenClassifiers, type OpenedClassifiers } from "./local-classifiers.ts";

const help = `Usage: pipit classifier <list | train | eval | versions | rollback> [NAME] [options]

  list                     classifiers, their examples and the accuracy found by cross-validation
  train [NAME]             train now, all or one; a version is kept of each training
  eval NAME FILE…          measure one on labelled texts; as pipit eval
  versions NAME            trainings that are kept, newest first
  rollback NAME            back to the version before, with what it had learnt
      --to N               to this version
      --json               one JSON document on stdout

Classifiers are YAML files in the folder \`classifiers\` of the state directory:

  labels: [lights, {name: media, description: music and radio}]
  examples: [{text: lamp on, label: lights}, more.jsonl, more.csv]
  threshold: 0.4           # abstain below this probability
  out_of_scope: auto       # abstain on texts unlike every example: auto, off or a similarity
  abstain_label: unknown   # instead of null
  kind: single             # or multi, or yes_no with a \`question\`

${CONFIG_HELP}`;

export function classifierCommand(open: OpenClassifiers): Command {
  const evaluation = evalCommand(open);
  return {
    name: "classifier",
    summary: "train, list, measure and roll back classifiers",
    help,
    options: { ...CONFIG_OPTIONS, ...evaluation.options, to: { type: "string" } },
    async run(context) {
      const [verb = "list", name, ...files] = context.positionals;
      if (verb === "eval" && name !== undefined) {
        const values = { ...context.values, classifier: name };
        return evaluation.run({ ...context, values, positionals: files });
      }
      const action = ACTIONS[verb];
      if (action === undefined || (action.needsName && name === undefined)) {
        context.stderr(
          action ? `pipit classifier ${verb}: which classifier?\n` : `pipit classifier: no such action ${verb}\n`,
        );
        return EXIT.usage;
      }
      const opened = await open(
        context,
        action.needsEncoder ? "head" : "none",
        name === undefined ? undefined : [name],
      );
      try {
        return await action.run(context, opened, name);
      } finally {
        await opened.close();
      }
    },
  };
}

export const command: Command = classifierCommand(openLocally);

interface Action {
  needsEncoder?: boolean;
  needsName?: boolean;
  run(context: CommandContext, opened: OpenedClassifiers, name: string | undefined): Promise<number>;
}

const ACTIONS: Record<string, Action> = {
  list: { run: list },
  train: { needsEncoder: true, run: train },
  versions: { needsName: true, run: versions },
  rollback: { needsName: true, run: rollback },
};

async function list(context: CommandContext, { definitions, store }: OpenedClassifiers): Promise<number> {
  const rows = await Promise.all(
    definitions.map(async ({ name, kind, labels, examples, model }) => {
      const current = (await store.versions(name)).find((version) => version.current);
      return {
        name,
        kind,
        model: model ?? null,
        labels: labels.length,
        examples: examples.length,
        learned: current?.learned ?? 0,
        version: current?.version ?? null,
        accuracy: current?.accuracy ?? null,
      };
    }),
  );
  if (context.json) context.stdout(`${JSON.stringify(rows, null, 2)}\n`);
  else if (rows.length === 0)
    context.stderr("no classifiers: put a YAML file into the folder `classifiers` (see --help)\n");
  for (const row of context.json ? [] : rows) {
    // Without labels of its own it has those of its model's head, and that is not trained here.
    const ownHead = row.labels === 0;
    const trained = ownHead
      ? `as model ${row.model} was trained`
      : row.version === null
        ? "not trained"
        : `v${row.version}, accuracy ${row.accuracy?.toFixed(3)}`;
    const known = ownHead ? "labels of its model" : `${row.labels} labels, ${row.examples} + ${row.learned} examples`;
    context.stdout(`${row.name.padEnd(20)} ${row.kind.padEnd(7)} ${known.padEnd(30)} ${trained}\n`);
  }
  return EXIT.ok;
}

async function train(context: CommandContext, opened: OpenedClassifiers, name: string | undefined): Promise<number> {
  const { classifiers } = opened;
  const results = [];
  for (const own of name === undefined ? classifiers.names : [name]) {
    const trained = classifiers.named(own);
    if (trained.isFixed && name === undefined) {
      context.stderr(`${own}: the head came with its model, nothing to train\n`);
      continue;
    }
    const { version, texts, head } = await trained.retrain(context.signal);
    const { accuracy, cases, loss } = head.validation;
    results.push({ name: own, version, examples: texts.length, accuracy, cases, loss });
    if (!context.json) {
      context.stdout(
        `${own}: v${version}, ${texts.length} examples, accuracy ${accuracy.toFixed(3)} by cross-validation\n`,
      );
    }
  }
  if (context.json) context.stdout(`${JSON.stringify(results, null, 2)}\n`);
  else if (results.length === 0) context.stderr("no classifiers to train\n");
  return EXIT.ok;
}

async function versions(context: CommandContext, { classifiers }: OpenedClassifiers, name = ""): Promise<number> {
  const found = await classifiers.versions(name);
  if (context.json) context.stdout(`${JSON.stringify(found, null, 2)}\n`);
  for (const { version, current, trainedMs, reason, examples, learned, accuracy } of context.json ? [] : found) {
    const when = new Date(trainedMs).toISOString();
    const what = `${examples} examples, ${learned} learnt, accuracy ${accuracy.toFixed(3)}`;
    context.stdout(`${current ? "*" : " "} v${String(version).padEnd(4)} ${when}  ${reason.padEnd(10)} ${what}\n`);
  }
  return EXIT.ok;
}

async function rollback(context: CommandContext, { classifiers }: OpenedClassifiers, name = ""): Promise<number> {
  const { to } = context.values;
  const version = await classifiers.named(name).rollback(typeof to === "string" ? Number(to) : undefined);
  context.stdout(context.json ? `${JSON.stringify({ name, version })}\n` : `${name}: back to v${version}\n`);
  return EXIT.ok;
}
