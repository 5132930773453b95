// Text of configuration and classifier files: sound ones with wounds, records of known names, and pieces of YAML.
import type { Random } from "../fakes/random.ts";
import { anyRecord, mutated, wordy } from "./mutate.ts";

const YAML = [
  "&a ",
  "*a",
  ": ",
  "- ",
  "\n",
  "  ",
  "{",
  "}",
  "[",
  "]",
  "? ",
  "!!set ",
  "|\n",
  "'",
  '"',
  "%YAML 1.1\n",
  "---\n",
  "#",
  ", ",
  "~",
  "0x1f",
  "1e9",
  "yes",
];

export function yaml(random: Random, sound: readonly Uint8Array[], names: readonly string[]): Uint8Array {
  if (random.chance(0.5)) return mutated(random, sound);
  if (random.chance(0.5)) return Buffer.from(JSON.stringify(anyRecord(random, names)));
  return Buffer.from(wordy(random, [...YAML, ...names], 30));
}
