// One value as somebody wrote it, with the place it was written at; and what is said about it.

import { show } from "./key.ts";

export interface Setting {
  /** `section.key`, or whatever was written in its place. */
  path: string;
  value: unknown;
  /** Written as text that still has to be read as a number, a list…: environment and arguments. */
  source: "file" | "environment" | "argument";
  /** Directory that relative paths in the value start from. */
  directory: string;
  /** `pipit.yaml:12`, `PIPIT_BROKER_URL`, `--set broker.url`; of the part of the value at `sub`, as far as it is known. */
  where(sub?: readonly (string | number)[]): string;
}

export interface Problem {
  /** Key it is about, `routes[2].filter` for a part of one; empty for a whole file. */
  key: string;
  message: string;
  /** Where it was written. */
  source: string;
}

/** One line that names key, fault and place. */
export function problemLine({ key, message, source }: Problem): string {
  const place = source === "" ? "" : ` (${source})`;
  return key === "" ? `${message}${place}` : `${key}: ${message}${place}`;
}

/** `routes` and `[2, "filter"]` as `routes[2].filter`; words that are no plain names in quotes, on one line. */
export function keyName(path: string, sub: readonly (string | number)[] = []): string {
  return sub.reduce<string>(
    (name, part) => (typeof part === "number" ? `${name}[${part}]` : `${name}.${word(part)}`),
    word(path),
  );
}

function word(name: string): string {
  return /^[\w.-]{1,80}$/.test(name) ? name : show(name);
}
