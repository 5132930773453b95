// One configuration key: its sentence, default, bounds and check in one object, from which the type, the message, the
// reference and the example are made. Checks are pure on the value, report every fault, and accept their own result.

/** Where a check reports to, and what relative names in the value start from. */
export interface Reading {
  /** Directory that relative paths start from: that of the file for values of a file, else the working directory. */
  directory: string;
  home: string;
  /** Notes a fault of the value, or of the part of it at `sub`; returns undefined so that a check can return it. */
  fault(message: string, ...sub: (string | number)[]): undefined;
  warn(message: string, ...sub: (string | number)[]): void;
}

/** What a default may depend on when it is not a constant. */
export interface Surroundings {
  env: NodeJS.ProcessEnv;
  hostName: string;
  home: string;
  /** Effective text of a key that stands before this one in the schema. */
  text(path: string): string;
}

export interface Key<T> {
  readonly doc: string;
  /** What it takes, in words that follow "must be". */
  readonly takes: string;
  readonly default: T;
  readonly unit?: string;
  /** Environment variables besides the one made from the path. */
  readonly variables?: readonly string[];
  /** Long option of the command line besides `--set`. */
  readonly shorthand?: string;
  readonly isFlag?: boolean;
  /** It names a file: one that anybody may read, one that only this user should, one whose text the loader reads. */
  readonly file?: "public" | "private" | "secret";
  readonly required?: boolean;
  /** A default that depends on the machine or on another key; `words` say which for the reference. */
  readonly derived?: { readonly words: string; value(surroundings: Surroundings): string };
  /** Text of the environment or an argument as a value; text that makes no sense is left for `check` to name. */
  parse(text: string): unknown;
  /** The value in its normal form, or undefined after reporting its faults. */
  check(value: unknown, reading: Reading): T | undefined;
}

export interface KeySpec<D> {
  doc: string;
  /** Left out: the key has no value unless it is set. */
  default?: D;
  variables?: readonly string[];
  shorthand?: string;
}

export interface TextSpec<D> extends KeySpec<D> {
  maxCharacters?: number;
  pattern?: RegExp;
  /** Words for the pattern, after "must be". */
  takes?: string;
  /** May be empty. */
  empty?: boolean;
  /** What is wrong with a well-formed value, after "<key> ". */
  faultOf?: (value: string) => string | undefined;
}

export function text<D extends string | undefined = undefined>(spec: TextSpec<D>): Key<string | D> {
  const max = spec.maxCharacters ?? 200;
  const takes = spec.takes ?? `text of ${spec.empty === true ? "at most" : "1 to"} ${max} characters`;
  return {
    ...about(spec),
    takes,
    parse: (written) => written,
    check(value, reading) {
      if (typeof value === "number" || typeof value === "boolean") {
        return reading.fault(`must be text: put ${show(value)} in quotes`);
      }
      const fits =
        typeof value === "string" &&
        value.length <= max &&
        (value.length > 0 || spec.empty === true) &&
        (spec.pattern === undefined || spec.pattern.test(value));
      if (!fits) return mustBe(takes, value, reading);
      const fault = spec.faultOf?.(value);
      return fault === undefined ? value : reading.fault(`${fault}: ${show(value)}`);
    },
  };
}

export interface NumberSpec<D> extends KeySpec<D> {
  min: number;
  max: number;
  /** `s`, `ms`, `bytes`, `tokens`… */
  unit?: string;
  /** 0 is allowed although it is below `min`, and means this. */
  zero?: string;
}

export function integer<D extends number | undefined = undefined>(spec: NumberSpec<D>): Key<number | D> {
  return numeric(spec, spec.unit === "bytes" ? "a number of bytes" : "a whole number", Number.isInteger);
}

export function decimal<D extends number | undefined = undefined>(spec: NumberSpec<D>): Key<number | D> {
  return numeric(spec, "a number", Number.isFinite);
}

function numeric<D extends number | undefined>(
  spec: NumberSpec<D>,
  noun: string,
  fits: (value: number) => boolean,
): Key<number | D> {
  const bytes = spec.unit === "bytes";
  const unit = spec.unit === undefined || bytes ? "" : ` ${spec.unit}`;
  const [min, max] = [spec.min, spec.max].map((bound) => (bytes ? byteWords(bound) : bound));
  const takes = `${spec.zero === undefined ? "" : `0 (${spec.zero}) or `}${noun} from ${min} to ${max}${unit}`;
  return {
    ...about(spec),
    unit: spec.unit,
    takes,
    parse: (written) => parseNumber(written, bytes),
    check(value, reading) {
      const allowed =
        typeof value === "number" &&
        fits(value) &&
        ((value >= spec.min && value <= spec.max) || (value === 0 && spec.zero !== undefined));
      return allowed ? value : mustBe(takes, value, reading);
    },
  };
}

const BYTES = { kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3, kb: 1e3, mb: 1e6, gb: 1e9 } as const;

/** A number of bytes as short as it can be written exactly. */
export function byteWords(count: number): string {
  const size = (["GiB", "MiB", "KiB"] as const).find((each) => count % BYTES[each.toLowerCase() as "mib"] === 0);
  return size === undefined || count === 0 ? `${count}` : `${count / BYTES[size.toLowerCase() as "mib"]}${size}`;
}

function parseNumber(written: string, bytes: boolean): number | string {
  const trimmed = written.trim();
  if (/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)) return Number(trimmed);
  const size = bytes ? /^(\d+(?:\.\d+)?)\s*([kmg]i?b)$/i.exec(trimmed) : null;
  if (size === null) return written;
  return Math.round(Number(size[1]) * BYTES[(size[2] ?? "kb").toLowerCase() as keyof typeof BYTES]);
}

export function flag<D extends boolean | undefined = undefined>(spec: KeySpec<D>): Key<boolean | D> {
  return {
    ...about<boolean | D>(spec),
    takes: "true or false",
    isFlag: true,
    parse(written) {
      const word = written.trim().toLowerCase();
      if (["true", "yes", "on", "1"].includes(word)) return true;
      return ["false", "no", "off", "0"].includes(word) ? false : written;
    },
    check: (value, reading) => (typeof value === "boolean" ? value : mustBe("true or false", value, reading)),
  };
}

export function choice<const V extends string | number, D extends NoInfer<V> | undefined = undefined>(
  spec: KeySpec<D> & { values: readonly V[] },
): Key<V | D> {
  const takes = `one of ${spec.values.join(", ")}`;
  const find = (value: unknown) => spec.values.find((known) => known === value);
  return {
    ...about<V | D>(spec),
    takes,
    parse: (written) => spec.values.find((known) => String(known) === written.trim()) ?? written,
    check: (value, reading) => find(value) ?? mustBe(takes, value, reading),
  };
}

/** The key with a default that is not a constant. */
export function derived(key: Key<string | undefined>, words: string, value: (of: Surroundings) => string): Key<string> {
  return { ...key, default: "", derived: { words, value } } as Key<string>;
}

/** What systemd made for `StateDirectory=`; the first of several. */
export function stateDirectory(env: NodeJS.ProcessEnv): string | undefined {
  return env["STATE_DIRECTORY"]?.split(":")[0] || undefined;
}

/** The key as one that an entry of a list must have. */
export function required<T>(key: Key<T | undefined>): Key<T> {
  return { ...key, required: true } as Key<T>;
}

/** The parts of a key that every kind takes over from its description. */
export function about<T>(spec: KeySpec<T>): Pick<Key<T>, "doc" | "default" | "variables" | "shorthand"> {
  // A key without a default has the default `undefined`, which its type then includes.
  return { doc: spec.doc, default: spec.default as T, variables: spec.variables, shorthand: spec.shorthand };
}

export function mustBe(takes: string, value: unknown, reading: Reading): undefined {
  return reading.fault(`must be ${takes}, is ${show(value)}`);
}

/** A value as a message shows it: short, on one line, whatever it is. */
export function show(value: unknown): string {
  let written: string | undefined;
  try {
    written = JSON.stringify(value);
  } catch {
    // Cycles of YAML anchors have no JSON.
  }
  written ??= String(value);
  return written.length <= 80 ? written : `${written.slice(0, 77)}…`;
}
