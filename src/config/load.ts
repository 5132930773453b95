// Loads the configuration: file, then environment, then arguments, the later over the earlier. All problems are gathered
// before anything is refused, values of a lower layer included: a wrong line is wrong although something overrides it.
import { homedir, hostname } from "node:os";
import { resolve } from "node:path";
import convict from "convict";
import { PipitError } from "../core/errors.ts";
import { deepCamel } from "./camel.ts";
import type { Key, Reading } from "./key.ts";
import { show } from "./key.ts";
import { hint } from "./nearest.ts";
import { argumentSettings, environmentSettings } from "./outside.ts";
import type { ArgumentValues } from "./outside.ts";
import { findings } from "./rules.ts";
import { allKeys, keyAt, sections } from "./schema.ts";
import type { Config, RawConfig, SecretName } from "./schema.ts";
import { credentialSettings, readSecrets } from "./secrets.ts";
import { keyName, problemLine } from "./setting.ts";
import type { Problem, Setting } from "./setting.ts";
import { suggestKey } from "./suggest.ts";
import { readYamlFile } from "./yaml-file.ts";

/** Lines of one message; a file that is no configuration at all can have thousands of problems. */
const MAX_PROBLEM_LINES = 50;

export interface LoadRequest {
  /** File to read; else what `--config` says, else PIPIT_CONFIG, else none. */
  file?: string;
  env: NodeJS.ProcessEnv;
  /** Parsed values of CONFIG_OPTIONS; other options are ignored. */
  args?: ArgumentValues;
}

export interface CheckedConfig {
  /** The file that was read. */
  file?: string;
  problems: Problem[];
  warnings: Problem[];
  /** Effective values as in a file; the default in the place of a faulty one. */
  raw: RawConfig;
  /** Where each value that is no default was written, by key. */
  sources: ReadonlyMap<string, string>;
  secret(name: SecretName): string | undefined;
}

export interface LoadedConfig {
  config: Config;
  file?: string;
  /** Lines to log at start. */
  warnings: string[];
  /** Text of a secret file; `broker.password` is what `broker.password_file` holds. Not in `config`, so that it is not logged. */
  secret(name: SecretName): string | undefined;
}

/** The configuration, or a PipitError of kind `config` that names every problem. */
export function loadConfig(request: LoadRequest): LoadedConfig {
  const checked = checkConfig(request);
  if (checked.problems.length > 0) {
    throw new PipitError("config", "config_invalid", problemText(checked.problems));
  }
  return {
    config: deepCamel(checked.raw),
    file: checked.file,
    warnings: checked.warnings.map(problemLine),
    secret: checked.secret,
  };
}

/** All problems, one a line. */
export function problemText(problems: readonly Problem[]): string {
  const lines = problems.slice(0, MAX_PROBLEM_LINES).map((each) => `  ${problemLine(each)}`);
  if (problems.length > lines.length) lines.push(`  and ${problems.length - lines.length} more`);
  const count = problems.length === 1 ? "a problem" : `${problems.length} problems`;
  return `the configuration has ${count}:\n${lines.join("\n")}`;
}

/** Reads and checks everything and throws nothing: problems are part of the result. */
export function checkConfig(request: LoadRequest): CheckedConfig {
  const { env, args = {} } = request;
  const file = request.file ?? (typeof args["config"] === "string" ? args["config"] : env["PIPIT_CONFIG"] || undefined);
  const fromFile = file === undefined ? { settings: [], problems: [] } : readYamlFile(file);
  const fromEnvironment = environmentSettings(env);
  const fromArguments = argumentSettings(args);

  const loading = new Loading(env);
  loading.problems.push(...fromFile.problems, ...fromArguments.problems);
  loading.warnings.push(...fromEnvironment.warnings);
  for (const setting of credentialSettings(env)) loading.apply(setting);
  for (const setting of [...fromFile.settings, ...fromEnvironment.settings, ...fromArguments.settings]) {
    loading.apply(setting);
  }
  loading.derive();
  const raw = loading.finish();
  const secrets = readSecrets(raw, (path, message) => loading.note(loading.problems, path, [], message));
  return {
    file,
    problems: loading.problems,
    warnings: loading.warnings,
    raw,
    sources: new Map([...loading.written].map(([path, setting]) => [path, setting.where()])),
    secret: (name) => secrets.get(name),
  };
}

/** One load: convict holds the values, this the places they were written at and what is wrong with them. */
class Loading {
  readonly problems: Problem[] = [];
  readonly warnings: Problem[] = [];
  /** The setting that a value comes from; keys at their default are not in it. */
  readonly written = new Map<string, Setting>();
  readonly #store = convict<Record<string, unknown>>(convictSchema(), { env: {}, args: [] });
  readonly #faulty = new Set<string>();
  readonly #env: NodeJS.ProcessEnv;
  readonly #home: string;

  constructor(env: NodeJS.ProcessEnv) {
    this.#env = env;
    this.#home = env["HOME"] || homedir();
  }

  apply(setting: Setting): void {
    const placed = keyAt.get(setting.path);
    if (placed === undefined) return this.#refuseUnknown(setting);
    const { key, path } = placed;
    const value = typeof setting.value === "string" ? key.parse(setting.value) : setting.value;
    if (value === null || value === undefined || (value === "" && key.default === undefined)) {
      this.#store.set(path, key.default);
      this.written.delete(path);
      return;
    }
    let faults = 0;
    const checked = key.check(value, {
      directory: setting.directory,
      home: this.#home,
      fault: (message, ...sub) => {
        faults++;
        this.#faulty.add(path);
        this.problems.push({ key: keyName(path, sub), message, source: setting.where(sub) });
        return undefined;
      },
      warn: (message, ...sub) =>
        void this.warnings.push({ key: keyName(path, sub), message, source: setting.where(sub) }),
    });
    if (faults > 0) return;
    this.#store.set(path, checked);
    this.written.set(path, setting);
  }

  /** Fills the defaults that depend on the machine and on other keys, in the order of the schema. */
  derive(): void {
    const text = (path: string) => String(this.#store.get(path));
    for (const { path, key } of allKeys) {
      if (key.derived === undefined || this.written.has(path)) continue;
      const value = key.derived.value({ env: this.#env, home: this.#home, hostName: hostname(), text });
      this.#store.set(path, value);
    }
  }

  finish(): RawConfig {
    this.#store.validate({ allowed: "strict" });
    const raw = this.#store.getProperties() as unknown as RawConfig;
    for (const { severity, path, sub = [], message } of findings(raw, (key) => this.written.has(key), this.#faulty)) {
      this.note(severity === "problem" ? this.problems : this.warnings, path, sub, message);
    }
    return raw;
  }

  note(list: Problem[], path: string, sub: (string | number)[], message: string): void {
    list.push({ key: keyName(path, sub), message, source: this.written.get(path)?.where(sub) ?? "default" });
  }

  #refuseUnknown({ path, value, where }: Setting): void {
    const source = where();
    if (Object.hasOwn(sections, path)) {
      // An empty section is what is left when every line of it is a comment.
      if (value === null || value === undefined) return;
      this.problems.push({ key: path, message: `must be a section with keys below it, is ${show(value)}`, source });
      return;
    }
    // Its value is not shown: it may be a secret in a wrong place.
    const near = this.problems.length < MAX_PROBLEM_LINES ? suggestKey(path) : undefined;
    this.problems.push({ key: keyName(path), message: `is not a known key${hint(near)}`, source });
  }
}

function convictSchema(): convict.Schema<Record<string, unknown>> {
  const entries = Object.entries(sections).map(([section, keys]) => [
    section,
    Object.fromEntries(Object.entries<Key<unknown>>(keys).map(([name, key]) => [name, convictKey(key)])),
  ]);
  return { ...Object.fromEntries(entries), routes: convictKey(keyAt.get("routes")?.key as Key<unknown>) };
}

/** The key for convict, which asks for a throw: values are checked when they are set, and all of them once at the end. */
function convictKey(key: Key<unknown>): convict.SchemaObj<unknown> {
  const reading: Reading = {
    directory: resolve("/"),
    home: "/",
    fault: (message) => {
      throw new Error(message);
    },
    warn: () => undefined,
  };
  return { doc: key.doc, default: key.default, format: (value: unknown) => void key.check(value, reading) };
}
