// `pipit models import`: a directory on this machine becomes a model of the store under a name of the user's choice.
import { PipitError } from "../core/errors.ts";
import type { CatalogEntry } from "./catalog.ts";
import { MODEL_NAME } from "./catalog.ts";
import { classificationLabels } from "./classification-head.ts";
import { needSpace } from "./disk-space.ts";
import { hashFile } from "./file-hash.ts";
import { readGgufHeader } from "./gguf-header.ts";
import { importModel, type ImportType } from "./import-model.ts";
import { PartialFile } from "./partial-file.ts";
import type { ModelStore } from "./store.ts";

export interface ImportOptions {
  store: ModelStore;
  catalog: ReadonlyMap<string, CatalogEntry>;
  type: ImportType | undefined;
  prefix?: string | undefined;
  onProgress: (doneBytes: number, totalBytes: number) => void;
  signal?: AbortSignal | undefined;
}

export interface ImportedModel {
  name: string;
  path: string;
  sha256: string;
  sizeBytes: number;
  /** Classes of its head, in order; undefined without one. */
  labels: string[] | undefined;
}

/** @throws PipitError `bad_model_name`, `bad_model_file` (kind `config`) or `disk_full` (kind `transient`). */
export async function importDirectory(directory: string, name: string, options: ImportOptions): Promise<ImportedModel> {
  const { store, catalog, type, prefix, onProgress, signal } = options;
  const bad = (why: string) => new PipitError("config", "bad_model_name", `${JSON.stringify(name)} ${why}`);
  if (!MODEL_NAME.test(name)) throw bad("is no model name: lower-case letters, digits, dot, dash and underscore");
  if (catalog.has(name)) throw bad("is a name of the catalogue; choose another with --name");
  return await store.locked(
    `fetch ${name}`,
    async () => {
      const part = new PartialFile(store, name);
      try {
        await importModel({
          directory,
          target: part.path,
          type,
          prefix,
          onProgress,
          onSize: (bytes) => needSpace(store.directory, bytes, `importing ${name}`),
          signal,
        });
        const header = await readGgufHeader(part.path);
        const labels = classificationLabels(part.path, header);
        const sha256 = await hashFile(part.path, signal);
        const path = await store.adopt(part.path, sha256);
        await store.setName(name, sha256, `file:${directory}`);
        return { name, path, sha256, sizeBytes: header.fileBytes, labels };
      } finally {
        await part.discard();
      }
    },
    { signal },
  );
}
