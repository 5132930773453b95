// The room's front: a name or a path in, a file that may be loaded out. What is missing or damaged and has a source is
// fetched first. This is all the agent needs to know of catalogue, store and sources.
import { join } from "node:path";
import { PipitError } from "../core/errors.ts";
import type { ModelFile } from "../core/model-file.ts";
import { type CatalogEntry, readCatalog } from "./catalog.ts";
import { readClassificationHead } from "./classification-head.ts";
import { fetchModel } from "./fetch-model.ts";
import { type ResolvedModel, resolveModel } from "./resolve-model.ts";
import { ModelStore } from "./store.ts";

export interface LibraryOptions {
  directory: string;
  /** The user's catalogue; undefined takes `models.yaml` in the directory, if it is there. */
  catalogFile?: string | undefined;
  /** For HF_ENDPOINT, HF_TOKEN and pip. */
  env?: NodeJS.ProcessEnv;
}

export interface ObtainOptions {
  /** Share of the longest stage (downloading, unpacking, hashing) that is done, 0 to 1; begins anew with each stage. */
  onProgress?: (fraction: number) => void;
  /** Sources that failed, waits for another process: one line each. */
  onNote?: (line: string) => void;
  signal?: AbortSignal;
}

export class ModelLibrary {
  readonly store: ModelStore;
  readonly #catalogFile: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(options: LibraryOptions) {
    this.store = new ModelStore(options.directory);
    this.#catalogFile = options.catalogFile ?? join(options.directory, "models.yaml");
    this.#env = options.env ?? process.env;
  }

  /** The catalogue as it stands in the files now. */
  async catalog(): Promise<Map<string, CatalogEntry>> {
    return await readCatalog(this.#catalogFile);
  }

  /** The verified file; never goes to a source. @throws as `resolveModel` */
  async find(nameOrPath: string, options: ObtainOptions = {}): Promise<ResolvedModel> {
    const { onProgress, signal } = options;
    return await resolveModel(nameOrPath, {
      store: this.store,
      catalog: await this.catalog(),
      signal,
      onProgress: (done, total) => onProgress?.(done / total),
    });
  }

  /** The verified file, fetched if need be. @throws as `resolveModel` and `fetchModel` */
  async obtain(nameOrPath: string, options: ObtainOptions = {}): Promise<ModelFile> {
    try {
      return await modelFile(await this.find(nameOrPath, options));
    } catch (error) {
      const entry = (await this.catalog()).get(nameOrPath);
      if (entry === undefined || !isCurable(error)) throw error;
      await this.#fetch(entry, options);
      return modelFile(await this.find(nameOrPath, options));
    }
  }

  async #fetch(entry: CatalogEntry, options: ObtainOptions): Promise<void> {
    await fetchModel(entry, {
      store: this.store,
      env: this.#env,
      signal: options.signal,
      onNote: (line) => options.onNote?.(line),
      onProgress: ({ doneBytes, totalBytes }) => {
        if (totalBytes !== undefined && totalBytes > 0) options.onProgress?.(Math.min(1, doneBytes / totalBytes));
      },
    });
  }
}

async function modelFile({ name, path, sha256, kind, header, prefix }: ResolvedModel): Promise<ModelFile> {
  const head = await readClassificationHead(path, header);
  return { name, path, sha256, kind, shape: header, ...(head && { head }), ...(prefix !== undefined && { prefix }) };
}

function isCurable(error: unknown): boolean {
  return error instanceof PipitError && (error.code === "model_missing" || error.code === "model_corrupt");
}
