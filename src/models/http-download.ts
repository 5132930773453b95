// One file over HTTP(S) into a local file, resumed after cut connections and, given the ETag of an earlier run, after a
// restart. Bytes of two versions never mix: a range is asked for under If-Range with a strong ETag and only taken when
// the answer starts where we stopped. Nothing here is trusted until the caller has checked the hash.
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { PipitError, toError } from "../core/errors.ts";

export interface HttpDownload {
  url: string;
  path: string;
  /** Where this file's bytes begin in `path`; what lies before is left alone. */
  startBytes: number;
  /** ETag under which the bytes already there were received; undefined starts afresh. */
  etag: string | undefined;
  /** Sent to the origin of `url` only, never to where it redirects. */
  bearerToken?: string | undefined;
  /** A server that offers another length is refused at once. */
  expectedBytes?: number | undefined;
  /** The ETag belonging to the bytes from now on; to be kept beside them. */
  onEtag: (etag: string | undefined) => Promise<void>;
  onProgress: (doneBytes: number, totalBytes: number | undefined) => void;
  onNote: (line: string) => void;
  signal?: AbortSignal | undefined;
  timing?: HttpTiming | undefined;
}

export interface HttpTiming {
  /** Silence after which a connection counts as dead. */
  stallMs: number;
  /** First pause before another attempt; doubles up to thirty times this. */
  retryMs: number;
}

const DEFAULT_TIMING: HttpTiming = { stallMs: 30_000, retryMs: 1_000 };
const MAX_REDIRECTS = 5;
const MAX_FRUITLESS = 5;
const RETRY_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A failure that another attempt at the same address may cure. */
class Interrupted extends Error {}

/** @throws PipitError `download_failed` or `not_found` (kind `transient`) when this address will not give the file. */
export async function downloadHttp(job: HttpDownload): Promise<void> {
  const { stallMs, retryMs } = job.timing ?? DEFAULT_TIMING;
  const file = await open(job.path, "r+");
  const transfer = new Transfer(job, file, stallMs);
  try {
    for (let fruitless = 0; ;) {
      const before = await transfer.receivedBytes();
      try {
        return await transfer.attempt();
      } catch (error) {
        job.signal?.throwIfAborted();
        if (!(error instanceof Interrupted)) throw error;
        fruitless = (await transfer.receivedBytes()) > before ? 1 : fruitless + 1;
        if (fruitless >= MAX_FRUITLESS) throw failed(job.url, `gave up after ${fruitless} attempts: ${error.message}`);
        job.onNote(`${hostOf(job.url)}: ${error.message}; trying again`);
        await delay(retryMs * Math.min(30, 2 ** (fruitless - 1)), undefined, { signal: job.signal });
      }
    }
  } finally {
    await file.close();
  }
}

class Transfer {
  readonly #job: HttpDownload;
  readonly #file: FileHandle;
  readonly #stallMs: number;
  #etag: string | undefined;

  constructor(job: HttpDownload, file: FileHandle, stallMs: number) {
    this.#job = job;
    this.#file = file;
    this.#stallMs = stallMs;
    this.#etag = job.etag;
  }

  async receivedBytes(): Promise<number> {
    return Math.max(0, (await this.#file.stat()).size - this.#job.startBytes);
  }

  async attempt(): Promise<void> {
    if (this.#etag === undefined) await this.#restart();
    const offset = await this.receivedBytes();
    const stall = new AbortController();
    const signals = [stall.signal, ...(this.#job.signal === undefined ? [] : [this.#job.signal])];
    const watch = new StallWatch(this.#stallMs, stall);
    try {
      const response = await this.#request(offset, AbortSignal.any(signals));
      await this.#receive(response, offset, watch);
    } catch (error) {
      if (error instanceof PipitError || error instanceof Interrupted || isFileError(error)) throw error;
      if (stall.signal.aborted) throw new Interrupted(`no data for ${Math.round(this.#stallMs / 1000)} s`);
      throw new Interrupted(reasonOf(error));
    } finally {
      watch.end();
    }
  }

  async #request(offset: number, signal: AbortSignal): Promise<Response> {
    const { url, bearerToken } = this.#job;
    // identity: with transparent compression, offsets would count bytes that are not the file's.
    const headers: Record<string, string> = { "accept-encoding": "identity", "user-agent": "pipit" };
    if (offset > 0 && this.#etag !== undefined)
      Object.assign(headers, { range: `bytes=${offset}-`, "if-range": this.#etag });
    let at = url;
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      const authorised = bearerToken !== undefined && new URL(at).origin === new URL(url).origin;
      const response = await fetch(at, {
        headers: authorised ? { ...headers, authorization: `Bearer ${bearerToken}` } : headers,
        redirect: "manual",
        signal,
      });
      const location = response.headers.get("location");
      if (response.status < 300 || response.status > 399 || location === null) return response;
      await response.body?.cancel();
      const next = new URL(location, at);
      if (next.protocol !== "https:" && !(next.protocol === "http:" && new URL(at).protocol === "http:")) {
        throw failed(url, `redirects from ${new URL(at).protocol} to ${next.protocol}, which is refused`);
      }
      at = next.href;
    }
    throw failed(url, `redirects more than ${MAX_REDIRECTS} times`);
  }

  async #receive(response: Response, offset: number, watch: StallWatch): Promise<void> {
    const { url, expectedBytes, startBytes, onProgress } = this.#job;
    const total = await this.#accept(response, offset);
    if (total === "complete") return;
    if (expectedBytes !== undefined && total !== undefined && total !== expectedBytes) {
      await response.body?.cancel();
      throw failed(url, `offers ${total} bytes, expected ${expectedBytes}`);
    }
    let done = await this.receivedBytes();
    onProgress(done, total ?? expectedBytes);
    for await (const chunk of response.body ?? []) {
      watch.touch();
      await this.#file.write(chunk, 0, chunk.length, startBytes + done);
      done += chunk.length;
      if (done > (total ?? expectedBytes ?? Infinity))
        throw failed(url, `sends more than the ${total} bytes announced`);
      onProgress(done, total ?? expectedBytes);
    }
    if (total !== undefined && done < total) throw new Interrupted(`connection ended at ${done} of ${total} bytes`);
  }

  /** The file's whole length as far as the server says it, "complete" when we have it already. */
  async #accept(response: Response, offset: number): Promise<number | undefined | "complete"> {
    const { url } = this.#job;
    const etag = strongEtag(response);
    if (response.status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
      if (range !== null && Number(range[1]) === offset && (etag === undefined || etag === this.#etag)) {
        return range[2] === "*" ? undefined : Number(range[2]);
      }
      await response.body?.cancel();
      await this.#restart();
      throw new Interrupted("the server answered with another range than asked for");
    }
    if (response.status === 200) {
      await this.#restart();
      this.#etag = etag;
      await this.#job.onEtag(etag);
      const length = response.headers.get("content-length");
      return length === null ? undefined : Number(length);
    }
    await response.body?.cancel();
    if (response.status === 416 && offset > 0) {
      const total = /^bytes \*\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
      if (Number(total) === offset) return "complete";
      await this.#restart();
      throw new Interrupted("the file on the server is not the one begun");
    }
    if (RETRY_STATUS.has(response.status)) throw new Interrupted(`HTTP ${response.status}`);
    const hint = [401, 403].includes(response.status)
      ? " (access denied: accept its licence there and set HF_TOKEN)"
      : "";
    throw failed(url, `HTTP ${response.status}${hint}`, response.status === 404 ? "not_found" : undefined);
  }

  async #restart(): Promise<void> {
    await this.#file.truncate(this.#job.startBytes);
    this.#etag = undefined;
    await this.#job.onEtag(undefined);
  }
}

/** Fires the controller when nothing has been heard for a while. */
class StallWatch {
  readonly #timer: NodeJS.Timeout;

  constructor(stallMs: number, controller: AbortController) {
    this.#timer = setTimeout(() => controller.abort(), stallMs);
  }

  touch(): void {
    this.#timer.refresh();
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

function strongEtag(response: Response): string | undefined {
  const etag = response.headers.get("etag");
  return etag === null || etag.startsWith("W/") ? undefined : etag;
}

function reasonOf(error: unknown): string {
  const { message, cause } = toError(error);
  const inner = cause instanceof Error ? cause : undefined;
  switch ((inner as NodeJS.ErrnoException | undefined)?.code) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "the server's name cannot be resolved (no network?)";
    case "ECONNREFUSED":
      return "connection refused";
    case undefined:
      return inner?.message ?? message;
    default:
      return `${inner?.message}`;
  }
}

/** Errors of our own disk, which no retry and no other source will cure. */
function isFileError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error && (error.syscall === "write" || error.syscall === "ftruncate");
}

function failed(url: string, why: string, code = "download_failed"): PipitError {
  return new PipitError("transient", code, `${url}: ${why}`);
}

function hostOf(url: string): string {
  return new URL(url).host;
}
