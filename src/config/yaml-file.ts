// A YAML file as settings with line numbers. Whatever the text is, the result is settings and problems, never a throw.
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { LineCounter, isAlias, isMap, isPair, isScalar, isSeq, parseDocument } from "yaml";
import type { Document, YAMLMap } from "yaml";
import type { Problem, Setting } from "./setting.ts";

const MAX_FILE_BYTES = 1024 ** 2;

export interface YamlSettings {
  settings: Setting[];
  problems: Problem[];
}

/** The settings of the file, which may not be there: that is a problem too. */
export function readYamlFile(file: string): YamlSettings {
  try {
    const { size } = statSync(file);
    if (size > MAX_FILE_BYTES) return failure(file, `has ${size} bytes, a configuration has at most ${MAX_FILE_BYTES}`);
    return parseYaml(readFileSync(file, "utf8"), file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return failure(file, code === "ENOENT" ? "does not exist" : `cannot be read: ${code ?? String(error)}`);
  }
}

/** The settings of `text`; `file` names it in messages, and relative paths in it start from its directory. */
export function parseYaml(text: string, file: string): YamlSettings {
  try {
    return settingsOf(text, file);
  } catch (error) {
    // The parser recurses: nesting of many thousands of levels ends here.
    return failure(file, `cannot be read as YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function settingsOf(text: string, file: string): YamlSettings {
  const lines = new LineCounter();
  // Without `logLevel`, odd documents print warnings of the parser on stderr.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" });
  const place = (offset: number) => `${file}:${lines.linePos(offset).line}`;
  const problems = [...document.errors, ...document.warnings].map((fault) => ({
    key: "",
    message: `cannot be read as YAML: ${fault.message}`,
    source: place(fault.pos[0]),
  }));
  const root = document.contents;
  if (problems.length > 0 || root === null || (isScalar(root) && root.value === null))
    return { settings: [], problems };
  if (!isMap(root))
    return failure(`${file}:1`, "must hold sections with keys, like `broker:` with `  url: …` below it");

  const reader = new Reader(document, file, place, problems);
  reader.readMap(root, "");
  return { settings: reader.settings, problems };
}

class Reader {
  readonly settings: Setting[] = [];
  readonly #document: Document;
  readonly #file: string;
  readonly #place: (offset: number) => string;
  readonly #problems: Problem[];

  constructor(document: Document, file: string, place: (offset: number) => string, problems: Problem[]) {
    this.#document = document;
    this.#file = file;
    this.#place = place;
    this.#problems = problems;
  }

  /** Maps of the first level are sections; what lies below a section is the value of a key. */
  readMap(map: YAMLMap, section: string): void {
    for (const pair of map.items) {
      const name = isScalar(pair.key) ? String(pair.key.value) : undefined;
      if (name === undefined) {
        this.#problems.push({
          key: section,
          message: "has a key that is not a word",
          source: this.#sourceOf(pair.key),
        });
        continue;
      }
      const path = section === "" ? name : `${section}.${name}`;
      const value = this.#resolve(pair.value);
      if (section === "" && isMap(value)) this.readMap(value, path);
      else this.#readValue(path, pair.key, pair.value);
    }
  }

  #readValue(path: string, key: unknown, node: unknown): void {
    let value: unknown;
    try {
      // Aliases are limited to 100 expansions: a few lines could otherwise fill the memory.
      value = isAlias(node) || isScalar(node) || isMap(node) || isSeq(node) ? node.toJS(this.#document) : null;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#problems.push({ key: path, message, source: this.#sourceOf(key) });
      return;
    }
    const source = this.#sourceOf(key);
    const where = (sub: readonly (string | number)[] = []) => this.#whereIn(node, sub) ?? source;
    this.settings.push({ path, value, source: "file", directory: resolve(dirname(this.#file)), where });
  }

  /** The place of the part of `node` at `sub`, or of the deepest part on the way there. */
  #whereIn(node: unknown, sub: readonly (string | number)[]): string | undefined {
    let current = this.#resolve(node);
    let found: string | undefined;
    for (const part of sub) {
      if (isMap(current)) {
        const pair = current.items.find(
          (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === part,
        );
        if (pair === undefined) break;
        found = this.#sourceOf(pair.key);
        current = this.#resolve(pair.value);
      } else if (isSeq(current) && typeof part === "number" && part < current.items.length) {
        const item = current.items[part];
        found = this.#sourceOf(item);
        current = this.#resolve(item);
      } else {
        break;
      }
    }
    return found;
  }

  #resolve(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #sourceOf(node: unknown): string {
    const range = (node as { range?: [number, number, number] | null } | null)?.range;
    return range ? this.#place(range[0]) : this.#file;
  }
}

function failure(source: string, message: string): YamlSettings {
  return { settings: [], problems: [{ key: "", message: `the configuration ${message}`, source }] };
}
