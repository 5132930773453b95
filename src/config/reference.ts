// The papers about the configuration, made from the schema: the reference (docs/config.md), the example
// (config/default.yaml), and the effective configuration as `pipit check-config` prints it.
import { byteWords } from "./key.ts";
import type { Key } from "./key.ts";
import { routeKeys } from "./schema-route.ts";
import { SECTION_DOCS, allKeys, sections } from "./schema.ts";
import type { RawConfig } from "./schema.ts";

type Section = keyof typeof sections;
const SECTION_NAMES = Object.keys(sections) as Section[];

const INTRODUCTION = `# Configuration

<!-- Made from the schema by scripts/generate-config-docs.mjs; do not edit. -->

\`pipit\` needs no configuration file. What is set overrides the defaults below, the later over the earlier:

1. the file (YAML) named by \`--config FILE\` or \`PIPIT_CONFIG\`; [config/default.yaml](../config/default.yaml) is one to start from;
2. environment variables: \`PIPIT_<SECTION>_<KEY>\`, for example \`PIPIT_BROKER_KEEPALIVE_S=60\`; empty ones count as unset;
3. arguments: \`--set section.key=value\`, and the short forms named below.

Lists in variables and arguments are JSON, or words with commas between them. Relative paths in the file start from its
directory, others from the working directory; \`~/\` is the home directory. Sizes may be written as \`16MiB\`. A key that is
set to nothing (\`key:\`) has its default.

\`pipit check-config [FILE]\` prints all problems at once, or the effective configuration and where each value comes from.

Secrets stand in files of their own, named by the keys that end in \`_file\`, so that they are in no configuration,
environment or process list. systemd credentials are found by themselves: \`LoadCredential=broker_password:/path\` does what
\`broker.password_file\` does, and so on for every key that ends in \`_file\`.
`;

/** docs/config.md. */
export function referenceMarkdown(): string {
  const parts = SECTION_NAMES.map((section) => {
    const rows = allKeys.filter((placed) => placed.section === section).map((placed) => row(placed.name, placed.key));
    return `## ${section}\n\n${SECTION_DOCS[section]}\n\n${table(rows)}`;
  });
  const routeRows = Object.entries<Key<unknown>>(routeKeys).map(([name, key]) => row(name, key));
  const routes =
    "## routes\n\nA list: what happens to messages of further topics. Each entry has a `filter` and a `task`; what it " +
    "leaves out comes from the sections above. `PIPIT_ROUTES` and `--set routes=` take the list as JSON.\n\n" +
    `${table(routeRows)}\n\`\`\`yaml\n${ROUTES_EXAMPLE}\`\`\`\n`;
  return [INTRODUCTION, ...parts, routes].join("\n");
}

const ROUTES_EXAMPLE = `routes:
  - name: doorbell
    filter: home/+/doorbell/text
    task: classify
    reply_topic: home/{1}/doorbell/kind
    reply_form: text
    labels:
      - parcel
      - name: visitor
        description: somebody who wants to come in
    examples: doorbell.jsonl
`;

/** config/default.yaml: every key with its default, commented out. */
export function exampleYaml(): string {
  const lines = [
    "# Configuration of Pipit. Everything has a default: remove the # before what you want to change.",
    "# Lines with `# ` explain, lines with `#` and no space are settings. The reference is docs/config.md.",
    "# Made from the schema by scripts/generate-config-docs.mjs.",
  ];
  for (const section of SECTION_NAMES) {
    lines.push("", `# ${SECTION_DOCS[section]}`, `${section}:`);
    for (const { name, key } of allKeys.filter((placed) => placed.section === section)) {
      const standard = key.derived === undefined ? "" : ` Default: ${key.derived.words}.`;
      lines.push(...comment(`${key.doc} Takes ${key.takes}.${standard}`), exampleLine(name, key), "");
    }
    lines.pop();
  }
  lines.push("", "# What happens to messages of further topics.", "#routes:");
  lines.push(
    ...ROUTES_EXAMPLE.trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => `#${line}`),
  );
  return `${lines.join("\n")}\n`;
}

/** Every effective value, with the place of those that are no default. */
export function effectiveText(raw: RawConfig, sources: ReadonlyMap<string, string>): string {
  const lines = SECTION_NAMES.flatMap((section) => [
    `${section}:`,
    ...Object.entries(raw[section]).map(([name, value]) => `  ${line(name, value, sources.get(`${section}.${name}`))}`),
  ]);
  if (raw.routes.length === 0) return [...lines, line("routes", [], sources.get("routes"))].join("\n");
  lines.push(`routes: # ${sources.get("routes") ?? "default"}`);
  for (const route of raw.routes) {
    const [first = "", ...rest] = Object.entries(route).map(([name, value]) => line(name, value, undefined));
    lines.push(`  - ${first}`, ...rest.map((each) => `    ${each}`));
  }
  return lines.join("\n");
}

function line(name: string, value: unknown, source: string | undefined): string {
  const written = scalar(value);
  const shown = Array.isArray(value) && written.length > 100 ? `[…] # ${value.length} items` : written;
  return `${name}: ${shown}${source === undefined ? "" : ` # ${source}`}`;
}

/** A value as YAML on one line. */
function scalar(value: unknown): string {
  if (value === undefined) return "null";
  // Words that YAML reads as something else keep their quotes.
  const plain =
    typeof value === "string" && /^[A-Za-z/][\w./:-]*$/.test(value) && !/^(true|false|null|.*:)$/i.test(value);
  return plain ? String(value) : JSON.stringify(value);
}

function exampleLine(name: string, key: Key<unknown>): string {
  return key.derived !== undefined || key.default === undefined ? `  #${name}:` : `  #${name}: ${defaultValue(key)}`;
}

function defaultValue({ default: value, unit }: Key<unknown>): string {
  return unit === "bytes" ? byteWords(value as number) : scalar(value);
}

function row(name: string, key: Key<unknown>): string[] {
  const also = [
    ...(key.shorthand === undefined ? [] : [`\`--${key.shorthand}\``]),
    ...(key.variables ?? []).map((variable) => `\`${variable}\``),
  ];
  const doc = also.length === 0 ? key.doc : `${key.doc} Also ${also.join(", ")}.`;
  return [`\`${name}\``, key.takes, defaultWords(key), doc].map((cell) => cell.replaceAll("|", "\\|"));
}

function defaultWords(key: Key<unknown>): string {
  const { default: value, derived, required } = key;
  if (required === true) return "required";
  if (derived !== undefined) return derived.words;
  return value === undefined ? "none" : `\`${defaultValue(key)}\``;
}

function table(rows: string[][]): string {
  const lines = [["Key", "Takes", "Default", "Meaning"], ["---", "---", "---", "---"], ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

/** Comment lines of at most 110 characters. */
function comment(text: string): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 110) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(`  # ${word}`);
  }
  return lines;
}
