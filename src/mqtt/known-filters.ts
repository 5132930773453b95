// The topic filters that the agent's session at the broker may hold, in one small file. The session outlives the configuration
// and MQTT cannot be asked for its subscriptions, so a filter that was taken out of the configuration is known only from here.
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { toError } from "../core/errors.ts";
import type { Logger } from "../core/ports.ts";

export class KnownFilters {
  readonly #path: string | undefined;
  readonly #logger: Logger;

  /** Without a path nothing is remembered. */
  constructor(path: string | undefined, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  /** Notes the filters before they are subscribed to; returns those of earlier that are no longer wanted. */
  add(wanted: readonly string[]): string[] {
    const known = this.#read();
    const stale = known.filter((filter) => !wanted.includes(filter));
    if (wanted.some((filter) => !known.includes(filter))) this.#write([...stale, ...wanted]);
    return stale;
  }

  /** The broker holds these and no others. */
  settle(wanted: readonly string[]): void {
    this.#write(wanted);
  }

  #read(): string[] {
    if (this.#path === undefined) return [];
    try {
      const { filters } = Object(JSON.parse(readFileSync(this.#path, "utf8"))) as { filters?: unknown };
      return Array.isArray(filters) ? filters.filter((filter) => typeof filter === "string") : [];
    } catch {
      return [];
    }
  }

  /** Synced, since the broker's session survives a power cut of the board. Rare: where nothing changes nothing is written. */
  #write(filters: readonly string[]): void {
    if (this.#path === undefined) return;
    try {
      mkdirSync(dirname(this.#path), { recursive: true });
      writeFileSync(`${this.#path}.new`, `${JSON.stringify({ filters }, undefined, 2)}\n`, { flush: true });
      renameSync(`${this.#path}.new`, this.#path);
      syncDirectory(dirname(this.#path));
    } catch (error) {
      this.#logger.warn({ reason: toError(error).message }, "the subscriptions were not noted");
    }
  }
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
