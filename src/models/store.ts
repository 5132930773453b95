// The models directory: `<sha256>.gguf` files, named by content so that releases share them, and `index.json` with what
// cannot be told from content: names that are not in the catalogue, hashes a user accepted, stamps of verified files.
// A lost index costs re-hashing and those names, never a wrong model. All writes are atomic and safe between processes.
import { mkdir, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join, relative } from "node:path";
import { PipitError } from "../core/errors.ts";
import { writeDurably, moveDurably } from "./durable-file.ts";
import { type FileStamp, hashFile, sameStamp, stampOf } from "./file-hash.ts";
import { type LockOptions, withLock } from "./store-lock.ts";

interface StoreIndex {
  version: 1;
  /** Hash by name: accepted at the first fetch of a model the catalogue has no hash for, or made by an import. */
  names: Record<string, { sha256: string; origin: string }>;
  /** Verified files by path (relative inside the directory), with their state when they were hashed. */
  verified: Record<string, FileStamp & { sha256: string }>;
}

export type FileState = "intact" | "corrupt" | "missing";

export interface HashOptions {
  signal?: AbortSignal | undefined;
  /** Bytes hashed so far and in all; not called when the stamp spares the hashing. */
  onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** Where models live: PIPIT_MODELS_DIR, else `models` in the service's state directory, else in the user's home. */
export function modelsDirectory(env: NodeJS.ProcessEnv): string {
  const given = env["PIPIT_MODELS_DIR"] ?? "";
  if (given !== "" && !isAbsolute(given)) {
    throw new PipitError("config", "bad_models_dir", `PIPIT_MODELS_DIR is ${given}, expected an absolute path`);
  }
  if (given !== "") return given;
  // systemd separates several state directories by colons; ours has one.
  const [state = ""] = (env["STATE_DIRECTORY"] ?? "").split(":");
  return state === "" ? join(env["HOME"] ?? homedir(), ".local/share/pipit/models") : join(state, "models");
}

export class ModelStore {
  readonly directory: string;
  readonly #indexPath: string;

  constructor(directory: string) {
    this.directory = directory;
    this.#indexPath = join(directory, "index.json");
  }

  blobPath(sha256: string): string {
    return join(this.directory, `${sha256}.gguf`);
  }

  async prepare(): Promise<void> {
    await mkdir(this.directory, { recursive: true });
  }

  /** Holds `name` against other processes that work in this directory. */
  async locked<T>(name: string, run: () => Promise<T>, options?: LockOptions): Promise<T> {
    await this.prepare();
    return await withLock(`${await realpath(this.directory)}\n${name}`, run, options);
  }

  async acceptedHash(name: string): Promise<string | undefined> {
    return (await this.#read()).names[name]?.sha256;
  }

  /** Names that were accepted or imported here, with their hashes. */
  async localNames(): Promise<Map<string, string>> {
    const { names } = await this.#read();
    return new Map(Object.entries(names).map(([name, { sha256 }]) => [name, sha256]));
  }

  async setName(name: string, sha256: string, origin: string): Promise<void> {
    await this.#update((index) => {
      index.names[name] = { sha256, origin };
    });
  }

  /** Takes over a complete file whose hash has just been found to be `sha256`. */
  async adopt(path: string, sha256: string): Promise<string> {
    const blob = this.blobPath(sha256);
    await moveDurably(path, blob);
    await this.#remember(blob, sha256);
    return blob;
  }

  /** Whether the content with this hash is here and whole; by its stamp where that is known, else by hashing it. */
  async check(sha256: string, options: HashOptions = {}): Promise<FileState> {
    const path = this.blobPath(sha256);
    if (!(await isFile(path))) return "missing";
    return (await this.hashOf(path, options)) === sha256 ? "intact" : "corrupt";
  }

  /** As `check`, but always reads the whole file. */
  async verify(sha256: string, options: HashOptions = {}): Promise<FileState> {
    await this.#forget(this.blobPath(sha256));
    return await this.check(sha256, options);
  }

  /** SHA-256 of any file, remembered by its size, times and inode. */
  async hashOf(path: string, options: HashOptions = {}): Promise<string> {
    const stamp = await stampOf(path);
    const known = (await this.#read()).verified[this.#key(path)];
    if (known !== undefined && sameStamp(known, stamp)) return known.sha256;
    const sha256 = await hashFile(path, options.signal, (done) => options.onProgress?.(done, stamp.size_bytes));
    // A file that changed while it was read is not remembered; neither is anything in a directory we may not write.
    if (sameStamp(stamp, await stampOf(path))) await this.#remember(path, sha256).catch(ignoreReadOnly);
    return sha256;
  }

  /** Deletes the content and all names accepted for it. False when nothing was there. */
  async remove(sha256: string): Promise<boolean> {
    const path = this.blobPath(sha256);
    const there = await isFile(path);
    await rm(path, { force: true });
    await this.#update((index) => {
      delete index.verified[this.#key(path)];
      for (const [name, { sha256: named }] of Object.entries(index.names)) {
        if (named === sha256) delete index.names[name];
      }
    });
    return there;
  }

  async #remember(path: string, sha256: string): Promise<void> {
    const stamp = await stampOf(path);
    await this.#update((index) => {
      index.verified[this.#key(path)] = { sha256, ...stamp };
    });
  }

  async #forget(path: string): Promise<void> {
    const key = this.#key(path);
    if ((await this.#read()).verified[key] === undefined) return;
    await this.#update((index) => {
      delete index.verified[key];
    });
  }

  #key(path: string): string {
    const inside = relative(this.directory, path);
    return inside.startsWith("..") ? path : inside;
  }

  async #read(): Promise<StoreIndex> {
    try {
      return parseIndex(await readFile(this.#indexPath, "utf8")) ?? emptyIndex();
    } catch (error) {
      if (isMissing(error)) return emptyIndex();
      throw error;
    }
  }

  async #update(change: (index: StoreIndex) => void): Promise<void> {
    await this.locked("index", async () => {
      const text = await readFile(this.#indexPath, "utf8").catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      });
      const index = text === undefined ? emptyIndex() : parseIndex(text);
      // Damaged by something else than us: kept for a person to look at.
      if (index === undefined) await rename(this.#indexPath, `${this.#indexPath}.damaged`);
      const next = index ?? emptyIndex();
      change(next);
      await writeDurably(this.#indexPath, `${JSON.stringify(next, null, 2)}\n`);
    });
  }
}

function emptyIndex(): StoreIndex {
  return { version: 1, names: {}, verified: {} };
}

function parseIndex(text: string): StoreIndex | undefined {
  try {
    const index = JSON.parse(text) as Partial<StoreIndex> | null;
    if (index?.version !== 1 || typeof index.names !== "object" || typeof index.verified !== "object") return undefined;
    return index as StoreIndex;
  } catch {
    return undefined;
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "ENOENT";
}

function ignoreReadOnly(error: NodeJS.ErrnoException): void {
  if (!["EACCES", "EROFS", "EPERM", "ENOSPC"].includes(error.code ?? "")) throw error;
}
