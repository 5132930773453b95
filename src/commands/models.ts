// `pipit models`: what the catalogue knows and what lies in the models directory; fetching, checking and deleting it.
// Progress and notes go to stderr, results to stdout.
import { basename, join, resolve } from "node:path";
import { PipitError, toError } from "../core/errors.ts";
import { type CatalogEntry, readCatalog } from "../models/catalog.ts";
import { fetchModel } from "../models/fetch-model.ts";
import { importDirectory } from "../models/import-directory.ts";
import { IMPORT_TYPES } from "../models/import-model.ts";
import { PartialFile } from "../models/partial-file.ts";
import { ProgressLine, sizeText } from "../models/progress.ts";
import { hashOfName, resolveModel, type ResolveOptions } from "../models/resolve-model.ts";
import { type FileState, modelsDirectory, ModelStore } from "../models/store.ts";
import { type Command, type CommandContext, EXIT } from "./command.ts";

const help = `Usage: pipit models <list | fetch | verify | remove | path | import> [NAME…] [options]

  list                what the catalogue knows and what is here
  fetch NAME…         download, check the SHA-256, store; resumes what was interrupted
  verify [NAME…]      read stored files again in full (default: all that are here)
  remove NAME…        delete the stored file, and what an unfinished fetch left
  path NAME           print the path of the stored, intact file
  import DIRECTORY    turn a BERT or DistilBERT model of Hugging Face's form into a stored GGUF, its classification head too

Options:
  --dir DIR           models directory (default: PIPIT_MODELS_DIR, else ~/.local/share/pipit/models)
  --catalogue FILE    your own entries (default: PIPIT_MODEL_CATALOGUE_FILE, else models.yaml in that directory)
  --accept-hash HASH  fetch: vouch for a model the catalogue has no SHA-256 for
  --name NAME         import: name of the result (default: that of the directory)
  --type f16 | q8_0   import: type of the weights (default: f16 with a classification head, else q8_0)
  --prefix TEXT       import: what its makers want before every text, such as 'query: ' (default: as the directory says)
  --json              one JSON document on stdout

Hugging Face downloads obey HF_ENDPOINT and HF_TOKEN; pip: sources use the pip of this machine with its settings.
`;

const options = {
  dir: { type: "string" },
  catalogue: { type: "string" },
  "accept-hash": { type: "string" },
  name: { type: "string" },
  type: { type: "string" },
  prefix: { type: "string" },
} as const;

type Models = ResolveOptions & { catalog: Map<string, CatalogEntry> };

interface Row {
  name: string;
  sha256: string | undefined;
  state: FileState;
  entry: CatalogEntry | undefined;
}

export const command: Command = {
  name: "models",
  summary: "list, fetch, import, verify and remove models",
  help,
  options,
  async run(context) {
    try {
      return await runVerb(context);
    } catch (error) {
      throw explained(toError(error), context.signal);
    }
  },
};

async function runVerb(context: CommandContext): Promise<number> {
  const [verb = "list", ...names] = context.positionals;
  const models = await openModels(context);
  const needsName = ["fetch", "remove", "path", "import"].includes(verb);
  if ((needsName && names.length === 0) || ((verb === "path" || verb === "import") && names.length > 1)) {
    context.stderr(`pipit models ${verb}: which model? (names: pipit models list)\n`);
    return EXIT.usage;
  }
  switch (verb) {
    case "list":
      return await list(context, models);
    case "fetch":
      return await fetchAll(context, models, names);
    case "verify":
      return await verify(context, models, names);
    case "remove":
      return await remove(context, models, names);
    case "path":
      return await path(context, models, names[0] as string);
    case "import":
      return await importOne(context, models, names[0] as string);
    default:
      context.stderr(`pipit models: no such verb ${JSON.stringify(verb)}\n\n${help}`);
      return EXIT.usage;
  }
}

/** What is no slip of ours, in a sentence: an interruption, a directory that cannot be read or written. */
function explained(error: Error, signal: AbortSignal): Error {
  if (error instanceof PipitError) return error;
  if (signal.aborted) {
    const message = "interrupted; the same command goes on with what is there";
    return new PipitError("transient", "interrupted", message, { cause: error });
  }
  const isFileError = "syscall" in error && "path" in error;
  return isFileError ? new PipitError("config", "models_dir", error.message, { cause: error }) : error;
}

async function openModels(context: CommandContext): Promise<Models> {
  const text = (key: string) => context.values[key] as string | undefined;
  const directory = modelsDirectory({
    ...context.env,
    ...(text("dir") === undefined ? {} : { PIPIT_MODELS_DIR: text("dir") }),
  });
  const userCatalog = text("catalogue") ?? context.env["PIPIT_MODEL_CATALOGUE_FILE"] ?? join(directory, "models.yaml");
  return { store: new ModelStore(directory), catalog: await readCatalog(userCatalog), signal: context.signal };
}

async function rows(models: Models): Promise<Row[]> {
  const names = new Set([...models.catalog.keys(), ...(await models.store.localNames()).keys()]);
  const found: Row[] = [];
  for (const name of names) {
    const sha256 = await hashOfName(name, models);
    const state = sha256 === undefined ? "missing" : await models.store.check(sha256, models);
    found.push({ name, sha256, state, entry: models.catalog.get(name) });
  }
  return found;
}

async function list(context: CommandContext, models: Models): Promise<number> {
  const found = await rows(models);
  if (context.json) {
    const items = found.map(({ name, sha256, state, entry }) => ({
      name,
      state,
      family: entry?.family,
      kind: entry?.kind,
      size_bytes: entry?.sizeBytes,
      sha256,
      licence: entry?.licence,
      context_tokens: entry?.contextTokens,
      tasks: entry?.tasks,
      sources: entry?.sources.map((parts) => parts.map((part) => part.text)),
      path: state === "missing" || sha256 === undefined ? undefined : models.store.blobPath(sha256),
    }));
    print(context, { directory: models.store.directory, models: items });
    return EXIT.ok;
  }
  const words = { intact: "here", corrupt: "DAMAGED", missing: "-" };
  const table = found.map(({ name, state, entry }) => [
    name,
    words[state],
    entry?.sizeBytes === undefined ? "?" : sizeText(entry.sizeBytes),
    entry?.tasks.join(",") ?? "?",
    entry?.licence ?? "?",
    entry?.sha256 === undefined && state === "missing" ? "no known hash: asks before storing" : "",
  ]);
  context.stdout(
    `${columns([["NAME", "STATE", "SIZE", "TASKS", "LICENCE", ""], ...table])}\nin ${models.store.directory}\n`,
  );
  return EXIT.ok;
}

async function fetchAll(context: CommandContext, models: Models, names: string[]): Promise<number> {
  const acceptedSha256 = context.values["accept-hash"] as string | undefined;
  if (acceptedSha256 !== undefined && (names.length > 1 || !/^[0-9a-f]{64}$/.test(acceptedSha256))) {
    context.stderr("pipit models fetch: --accept-hash takes 64 lower-case hex digits, for one model\n");
    return EXIT.usage;
  }
  const fetched = [];
  for (const name of names) {
    const entry = models.catalog.get(name);
    if (entry === undefined) {
      // Throws for a name nobody knows; one that was imported here has no source to fetch from.
      await hashOfName(name, models);
      throw new PipitError("config", "unknown_model", `${name} is not in the catalogue: nothing to fetch it from`);
    }
    const line = progressLine(context, name);
    try {
      const model = await fetchModel(entry, {
        store: models.store,
        env: context.env,
        acceptedSha256,
        signal: context.signal,
        onProgress: (progress) => line.update(progress),
        onNote: (note) => {
          line.end();
          context.stderr(`${note}\n`);
        },
      });
      fetched.push(model);
      line.end();
      if (!context.json)
        context.stdout(`${name}: ${model.source === undefined ? "already here" : "stored"}, ${model.path}\n`);
    } finally {
      line.end();
    }
  }
  if (context.json) {
    const models = fetched.map((model) => ({
      name: model.name,
      path: model.path,
      sha256: model.sha256,
      size_bytes: model.sizeBytes,
      source: model.source ?? null,
    }));
    print(context, { models });
  }
  return EXIT.ok;
}

async function verify(context: CommandContext, models: Models, names: string[]): Promise<number> {
  const wanted =
    names.length > 0 ? names : (await rows(models)).filter((row) => row.state !== "missing").map((row) => row.name);
  const results: { name: string; state: FileState; sha256: string | undefined }[] = [];
  for (const name of wanted) {
    const sha256 = await hashOfName(name, models);
    const state = sha256 === undefined ? "missing" : await models.store.verify(sha256, models);
    results.push({ name, state, sha256 });
    const advice = state === "intact" ? "" : `; run: pipit models fetch ${name}`;
    if (!context.json) context.stdout(`${name}: ${state}${advice}\n`);
  }
  if (context.json) print(context, { models: results });
  else if (wanted.length === 0) context.stdout(`no model in ${models.store.directory}\n`);
  return results.every(({ state }) => state === "intact") ? EXIT.ok : EXIT.failed;
}

async function remove(context: CommandContext, models: Models, names: string[]): Promise<number> {
  const removed: { name: string; removed: boolean }[] = [];
  for (const name of names) {
    const sha256 = await hashOfName(name, models);
    const there = sha256 !== undefined && (await models.store.remove(sha256));
    await new PartialFile(models.store, name).discard();
    removed.push({ name, removed: there });
    if (!context.json) context.stdout(`${name}: ${there ? "removed" : "was not here"}\n`);
  }
  if (context.json) print(context, { models: removed });
  return EXIT.ok;
}

async function path(context: CommandContext, models: Models, name: string): Promise<number> {
  const model = await resolveModel(name, models);
  if (context.json)
    print(context, {
      name: model.name,
      path: model.path,
      sha256: model.sha256,
      size_bytes: model.sizeBytes,
      kind: model.kind,
    });
  else context.stdout(`${model.path}\n`);
  return EXIT.ok;
}

async function importOne(context: CommandContext, models: Models, directory: string): Promise<number> {
  const {
    name = basename(resolve(directory)).toLowerCase(),
    type,
    prefix,
  } = context.values as Partial<Record<"name" | "type" | "prefix", string>>;
  const wanted = IMPORT_TYPES.find((known) => known === type);
  if (type !== undefined && wanted === undefined) {
    context.stderr(`pipit models import: --type is ${type}, expected ${IMPORT_TYPES.join(" or ")}\n`);
    return EXIT.usage;
  }
  const line = progressLine(context, name);
  try {
    const model = await importDirectory(resolve(directory), name, {
      ...models,
      type: wanted,
      prefix,
      onProgress: (doneBytes, totalBytes) => line.update({ stage: "import", part: 1, parts: 1, doneBytes, totalBytes }),
      signal: context.signal,
    });
    line.end();
    const { path, sha256, sizeBytes, labels } = model;
    if (context.json) print(context, { name, path, sha256, size_bytes: sizeBytes, labels });
    else context.stdout(`${name}: stored, ${path}\n`);
    if (labels && !context.json) context.stdout(`its head knows ${labels.length} labels: ${labels.join(", ")}\n`);
    return EXIT.ok;
  } finally {
    line.end();
  }
}

function progressLine(context: CommandContext, name: string): ProgressLine {
  const isTty = context.isTty && !context.json;
  return new ProgressLine({ name, isTty, write: context.stderr, nowMs: () => performance.now() });
}

function print(context: CommandContext, document: object): void {
  context.stdout(`${JSON.stringify(document, null, 2)}\n`);
}

function columns(table: string[][]): string {
  const widths = (table[0] ?? []).map((_, i) => Math.max(...table.map((row) => row[i]?.length ?? 0)));
  return table
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
