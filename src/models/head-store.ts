// Trained heads on disk, one folder a classifier: `v000007.json` for each training, `current` with the number in use. Each
// file is written beside, synced and renamed, so a power cut leaves the old version or the new one. A file that cannot be
// read is passed over for the next older one: the head can always be trained again.
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { RequestError } from "../core/errors.ts";
import type { HeadStore, HeadVersion, VersionSummary } from "../core/head-store.ts";
import type { Logger } from "../core/ports.ts";
import { writeDurably } from "./durable-file.ts";
import { headVersionFrom, headVersionText } from "./head-file.ts";

/** Versions kept of each classifier. */
const KEPT = 10;
const FILE = /^v(\d{6,})\.json$/;

export class FileHeadStore implements HeadStore {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
  }

  async current(classifier: string): Promise<HeadVersion | undefined> {
    const numbers = await this.#numbers(classifier);
    const marked = await this.#marked(classifier);
    // The mark first; if it is lost or names a bad file, whatever is newest and good.
    for (const number of [marked, ...numbers]) {
      if (number === undefined || !numbers.includes(number)) continue;
      const version = await this.#read(classifier, number);
      if (version) return version;
    }
    return undefined;
  }

  async append(classifier: string, version: Omit<HeadVersion, "version">): Promise<number> {
    await mkdir(this.#folder(classifier), { recursive: true });
    const numbers = await this.#numbers(classifier);
    const number = (numbers[0] ?? 0) + 1;
    await writeDurably(this.#path(classifier, number), headVersionText({ ...version, version: number }));
    await this.#mark(classifier, number);
    for (const old of numbers.slice(KEPT - 1)) await rm(this.#path(classifier, old), { force: true });
    return number;
  }

  async versions(classifier: string): Promise<VersionSummary[]> {
    const current = (await this.current(classifier))?.version;
    const summaries: VersionSummary[] = [];
    for (const number of await this.#numbers(classifier)) {
      const found = await this.#read(classifier, number);
      if (found === undefined) continue;
      const { version, trainedMs, reason, encoder, learned, texts, head } = found;
      const { accuracy } = head.validation;
      summaries.push({
        version,
        current: version === current,
        trainedMs,
        reason,
        encoder,
        examples: texts.length,
        learned: learned.length,
        accuracy,
      });
    }
    return summaries;
  }

  async rollback(classifier: string, version?: number): Promise<number> {
    const versions = await this.versions(classifier);
    const current = versions.find((summary) => summary.current)?.version ?? 0;
    const wanted = version ?? versions.find((summary) => summary.version < current)?.version;
    if (wanted === undefined || !versions.some((summary) => summary.version === wanted)) {
      const known = versions.map((summary) => summary.version).join(", ") || "none";
      const what = wanted === undefined ? "no older version" : `no version ${wanted}`;
      throw new RequestError("bad_request", `classifier ${classifier} has ${what}; it has ${known}`);
    }
    await this.#mark(classifier, wanted);
    return wanted;
  }

  /** Newest first. */
  async #numbers(classifier: string): Promise<number[]> {
    const names = await readdir(this.#folder(classifier)).catch(() => []);
    const numbers = names.map((name) => Number(FILE.exec(name)?.[1] ?? NaN));
    return numbers.filter((number) => number > 0).sort((a, b) => b - a);
  }

  async #marked(classifier: string): Promise<number | undefined> {
    const text = await readFile(join(this.#folder(classifier), "current"), "utf8").catch(() => "");
    return /^\d+\n?$/.test(text) ? Number(text) : undefined;
  }

  #mark(classifier: string, number: number): Promise<void> {
    return writeDurably(join(this.#folder(classifier), "current"), `${number}\n`);
  }

  async #read(classifier: string, number: number): Promise<HeadVersion | undefined> {
    const path = this.#path(classifier, number);
    try {
      return headVersionFrom(await readFile(path, "utf8"));
    } catch (error) {
      this.#log.warn({ classifier, path, err: error }, "a stored head cannot be read and is passed over");
      return undefined;
    }
  }

  #folder(classifier: string): string {
    return join(this.#directory, classifier);
  }

  #path(classifier: string, number: number): string {
    return join(this.#folder(classifier), `v${String(number).padStart(6, "0")}.json`);
  }
}
