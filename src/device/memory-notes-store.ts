// Notes about memory in one small file, written beside and renamed. A damaged file reads as no notes.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { toError } from "../core/errors.ts";
import type { MemoryNotes, MemoryNotesStore } from "../core/memory-notes.ts";
import type { Logger } from "../core/ports.ts";

/** In the state directory. */
export const MEMORY_NOTES_FILE = "memory.json";

export function readMemoryNotes(path: string): MemoryNotes {
  try {
    return notesOf(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return { corrections: {}, bars: {} };
  }
}

export class FileMemoryNotes implements MemoryNotesStore {
  readonly #path: string;
  readonly #log: Logger;

  constructor(path: string, log: Logger) {
    this.#path = path;
    this.#log = log;
  }

  read(): MemoryNotes {
    return readMemoryNotes(this.#path);
  }

  /** Not synced: what a power cut takes with it is learnt again. A full disk is no reason to stop. */
  write(notes: MemoryNotes): void {
    try {
      mkdirSync(dirname(this.#path), { recursive: true });
      writeFileSync(`${this.#path}.new`, `${JSON.stringify(notes, undefined, 2)}\n`);
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      this.#log.warn({ reason: toError(error).message }, "what was learnt about memory was not stored");
    }
  }
}

function notesOf(value: unknown): MemoryNotes {
  const { corrections, bars } = Object(value) as Partial<MemoryNotes>;
  const numbers = Object.entries(corrections ?? {}).filter(([, bytes]) => Number.isFinite(bytes));
  const known = Object.entries(bars ?? {}).filter(
    ([, note]) =>
      Number.isFinite(note.untilWallMs) && Number.isFinite(note.bar.holdMs) && Number.isInteger(note.bar.above),
  );
  return { corrections: Object.fromEntries(numbers), bars: Object.fromEntries(known) };
}
