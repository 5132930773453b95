// What a test file needs of the machine. What is missing becomes its reason to be skipped, told beside its name and in the
// closing line of the run (scripts/closing-line.mjs excuses the kernel's refusals, never a package that is not installed).
import { inject } from "vitest";
import { succeeds } from "./base-root.ts";

/** Why boards cannot be tested here, in words; undefined when they can. `tools` are programs of this machine. */
export function whyNoBoards(...tools: string[]): string | undefined {
  const missing = tools.find((tool) => !succeeds("sh", ["-c", `command -v ${tool}`]));
  if (missing !== undefined) return `${missing} is not installed`;
  return inject("noBoards") || undefined;
}
