// What an unfinished fetch keeps: `<name>.part`, and beside it `<name>.part.json` with the source and the ETag its bytes
// belong to. Bytes without such a state belong to nothing and are not resumed.
import { open, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeDurably } from "./durable-file.ts";
import type { ModelStore } from "./store.ts";

export interface PartialState {
  source: string;
  etag: string | undefined;
  /** All bytes are there; only the user's word for their hash is missing. */
  complete: boolean;
}

export class PartialFile {
  readonly path: string;
  /** Directory for what a source needs in between. */
  readonly workPath: string;
  readonly #statePath: string;

  constructor(store: ModelStore, name: string) {
    this.path = join(store.directory, `${name}.part`);
    this.workPath = `${this.path}.work`;
    this.#statePath = `${this.path}.json`;
  }

  /** The state of bytes from this source that can be gone on with, or undefined. */
  async kept(source: string): Promise<PartialState | undefined> {
    try {
      const state = JSON.parse(await readFile(this.#statePath, "utf8")) as PartialState;
      await stat(this.path);
      return state.source === source && (state.complete || state.etag !== undefined) ? state : undefined;
    } catch {
      return undefined;
    }
  }

  async save(state: PartialState): Promise<void> {
    await writeDurably(this.#statePath, JSON.stringify(state));
  }

  async create(): Promise<void> {
    await (await open(this.path, "a")).close();
  }

  async sizeBytes(): Promise<number> {
    return (await stat(this.path)).size;
  }

  async discard(): Promise<void> {
    for (const path of [this.path, this.#statePath, this.workPath]) await rm(path, { recursive: true, force: true });
  }
}
