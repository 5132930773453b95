// Keys that hold lists and records: labels, examples, routes. Each part is itself a key, so that its bounds, its sentence
// and its faults are made in the same way as those of a single value.
import { readFileSync, statSync } from "node:fs";
import type { Example, Label } from "../core/route.ts";
import { absolute } from "./key-files.ts";
import { about, mustBe, required, show, text } from "./key.ts";
import type { Key, KeySpec, Reading } from "./key.ts";
import { hint, nearest } from "./nearest.ts";

const MAX_EXAMPLES_FILE_BYTES = 8 * 1024 ** 2;

export type Keys = Readonly<Record<string, Key<unknown>>>;
/** The values of a table of keys, by the names they have in the file; keys without a default may be absent. */
export type ValuesOf<S> = {
  readonly [K in keyof S as undefined extends ValueOf<S[K]> ? never : K]: ValueOf<S[K]>;
} & {
  readonly [K in keyof S as undefined extends ValueOf<S[K]> ? K : never]?: ValueOf<S[K]>;
};
type ValueOf<K> = K extends Key<infer T> ? T : never;

export interface ListSpec<D> extends KeySpec<D> {
  max: number;
  /** What makes two items the same; the same one twice is a fault. */
  identity?: (item: unknown) => string | undefined;
  takes: string;
}

/** A list; as text either JSON or its items with commas between them. */
export function list<T, const D extends readonly T[] | undefined = undefined>(
  item: Key<T | undefined>,
  spec: ListSpec<D>,
): Key<readonly T[] | D> {
  const takes = `a list of at most ${spec.max} ${spec.takes}`;
  return {
    ...about<readonly T[] | D>(spec),
    takes,
    parse: (written) =>
      parseJson(written) ?? (written.trim() === "" ? [] : written.split(",").map((part) => part.trim())),
    check(value, reading) {
      if (!Array.isArray(value)) return mustBe(takes, value, reading);
      if (value.length > spec.max) return reading.fault(`must have at most ${spec.max} items, has ${value.length}`);
      const items = value.map((part: unknown, index) => item.check(part, within(reading, index)));
      const seen = new Map<string, number>();
      for (const [index, part] of items.entries()) {
        const identity = part === undefined ? undefined : spec.identity?.(part);
        if (identity === undefined) continue;
        const first = seen.get(identity);
        if (first !== undefined) reading.fault(`repeats item ${first + 1}: ${show(identity)}`, index);
        else seen.set(identity, index);
      }
      return items.filter((part) => part !== undefined);
    },
  };
}

/** Names and their values; a name that is not in the table is a fault. `whole` looks at the record as one. */
export function record<S extends Keys>(
  keys: S,
  takes: string,
  whole: (value: ValuesOf<S>, reading: Reading) => void = () => undefined,
): Key<ValuesOf<S>> {
  const names = Object.keys(keys);
  return {
    doc: takes,
    takes,
    // The records of this schema are items of lists, which have no default of their own.
    default: undefined as unknown as ValuesOf<S>,
    parse: (written) => parseJson(written) ?? written,
    check(value, reading) {
      if (!isPlain(value)) return mustBe(takes, value, reading);
      const found: Record<string, unknown> = {};
      for (const name of Object.keys(value)) {
        if (!names.includes(name)) reading.fault(`is not a key here${hint(nearest(name, names))}`, name);
      }
      for (const [name, key] of Object.entries(keys)) {
        const part = Object.hasOwn(value, name) ? value[name] : undefined;
        if (part !== undefined && part !== null) {
          const parsed = typeof part === "string" ? key.parse(part) : part;
          found[name] = key.check(parsed, within(reading, name));
        } else if (key.required === true) {
          reading.fault(`is missing, it must be ${key.takes}`, name);
        }
      }
      whole(found as ValuesOf<S>, reading);
      return found as ValuesOf<S>;
    },
  };
}

const labelRecord = record(
  {
    name: required(text({ doc: "Name, as in replies.", maxCharacters: 100 })),
    description: text({ doc: "What it means, for models that have seen no example.", maxCharacters: 1000 }),
  },
  "a name or {name, description}",
);

/** At most 64 labels, each a name or `{name, description}`. */
export function labels<D extends readonly Label[] | undefined = undefined>(
  spec: KeySpec<D>,
): Key<readonly Label[] | D> {
  const item: Key<Label> = {
    ...labelRecord,
    check: (value, reading) => labelRecord.check(typeof value === "string" ? { name: value } : value, reading),
  };
  const identity = (label: unknown) => (label as Label).name;
  return list<Label, D>(item, {
    ...spec,
    max: 64,
    takes: "different labels, each a name or {name, description}",
    identity,
  });
}

const exampleRecord: Key<Example> = record(
  {
    text: required(text({ doc: "Text as it may arrive.", maxCharacters: 10_000 })),
    label: required(text({ doc: "Its right label.", maxCharacters: 100 })),
  },
  "{text, label}",
);

/** Examples, written in place or as the path of a JSONL file with one `{text, label}` a line (other names are ignored). */
export function examples<D extends readonly Example[] | undefined = undefined>(
  spec: KeySpec<D>,
): Key<readonly Example[] | D> {
  const inner = list<Example, D>(exampleRecord, { ...spec, max: 20_000, takes: "{text, label}" });
  return {
    ...inner,
    takes: `${inner.takes}, or the path of a JSONL file of them`,
    parse: (written) => parseJson(written) ?? written,
    check: (value, reading) => inner.check(typeof value === "string" ? readExamples(value, reading) : value, reading),
  };
}

function readExamples(written: string, reading: Reading): unknown {
  if (written === "" || written.includes("\0")) return written;
  const path = absolute(written, reading);
  let lines: string[];
  try {
    const { size } = statSync(path);
    if (size > MAX_EXAMPLES_FILE_BYTES) {
      reading.fault(`names a file of ${size} bytes, at most ${MAX_EXAMPLES_FILE_BYTES} are read: ${path}`);
      return [];
    }
    // Spreadsheets and editors of Windows begin a file with a byte order mark.
    lines = readFileSync(path, "utf8")
      .replace(/^\uFEFF/, "")
      .split("\n");
  } catch (error) {
    reading.fault(`names a file that cannot be read: ${path} (${(error as NodeJS.ErrnoException).code ?? "error"})`);
    return [];
  }
  const found: unknown[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const example = parseJson(line);
    if (isPlain(example) && typeof example["text"] === "string" && typeof example["label"] === "string") {
      found.push({ text: example["text"], label: example["label"] });
    } else {
      reading.fault(`line ${index + 1} of ${path} must be {"text": …, "label": …}, is ${show(line)}`);
    }
  }
  return found;
}

/** The same reading for one part of the value. */
export function within(reading: Reading, part: string | number): Reading {
  return {
    ...reading,
    fault: (message, ...sub) => reading.fault(message, part, ...sub),
    warn: (message, ...sub) => reading.warn(message, part, ...sub),
  };
}

export function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The array or object that `written` is as JSON; anything else is no JSON here. */
function parseJson(written: string): unknown {
  if (!/^\s*[[{]/.test(written)) return undefined;
  try {
    return JSON.parse(written) as unknown;
  } catch {
    return undefined;
  }
}
