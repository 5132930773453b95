// The models of this board behind one call: a name or a path in, a verified file out, fetched when it is not here yet.
import { PipitError } from "../core/errors.ts";
import type { ModelFile } from "../core/model-file.ts";
import { type CatalogEntry, readCatalog } from "./catalog.ts";
import { fetchModel } from "./fetch-model.ts";
import { resolveModel, type ResolvedModel } from "./resolve-model.ts";
import { ModelStore } from "./store.ts";

export interface LibraryOptions {
  /** Where model files are stored. */
  directory: string;
  /** The user's own catalogue, added to the shipped one. */
  catalogFile?: string | undefined;
  env: NodeJS.ProcessEnv;
}

export interface ObtainOptions {
  /** Share of the file that is here, 0 to 1. */
  onProgress: (fraction: number) => void;
  onNote: (line: string) => void;
  signal: AbortSignal;
}

export class ModelLibrary {
  readonly #options: LibraryOptions;
  readonly #store: ModelStore;

  constructor(options: LibraryOptions) {
    this.#options = options;
    this.#store = new ModelStore(options.directory);
  }

  /** Throws the errors of `resolveModel` and `fetchModel`. */
  async obtain(name: string, options: ObtainOptions): Promise<ModelFile> {
    const catalog = await readCatalog(this.#options.catalogFile);
    const resolve = { store: this.#store, catalog };
    try {
      return modelFile(await resolveModel(name, resolve));
    } catch (error) {
      const entry = catalog.get(name);
      if (entry === undefined || !isAbsent(error)) throw error;
      await this.#fetch(entry, options);
      return modelFile(await resolveModel(name, resolve));
    }
  }

  async #fetch(entry: CatalogEntry, { onProgress, onNote, signal }: ObtainOptions): Promise<void> {
    await fetchModel(entry, {
      store: this.#store,
      env: this.#options.env,
      onProgress: ({ doneBytes, totalBytes }) => onProgress(totalBytes ? doneBytes / totalBytes : 0),
      onNote,
      signal,
    });
  }
}

function isAbsent(error: unknown): boolean {
  return error instanceof PipitError && (error.code === "model_missing" || error.code === "model_corrupt");
}

function modelFile({ name, path, sha256, kind, header }: ResolvedModel): ModelFile {
  return { name, path, sha256, kind, shape: header };
}
