// Writes the governor's trace to a file, one line a sample. Bounded: a full file becomes `<name>.1`, replacing the one
// before, so that a forgotten recording never fills the card. A failing disk ends the recording, not the agent.
import { type FileHandle, open, rename } from "node:fs/promises";
import type { Logger } from "../core/ports.ts";
import { type TraceEntry, traceLine } from "../core/trace.ts";

const MOST_BYTES = 16 * 1024 * 1024;
/** Lines are gathered so that a busy governor does not write four times a second to an SD card. */
const BLOCK_BYTES = 16 * 1024;

export class TraceRecorder {
  readonly #path: string;
  readonly #log: Logger;
  readonly #mostBytes: number;
  #pending: string[] = [];
  #pendingBytes = 0;
  #file: FileHandle | undefined;
  #fileBytes = 0;
  #failed = false;
  /** Writes go one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, log: Logger, mostBytes = MOST_BYTES) {
    this.#path = path;
    this.#log = log;
    this.#mostBytes = mostBytes;
  }

  record(entry: TraceEntry): void {
    if (this.#failed) return;
    const line = `${traceLine(entry)}\n`;
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    if (this.#pendingBytes >= BLOCK_BYTES) this.#flush();
  }

  async stop(): Promise<void> {
    this.#flush();
    await this.#writing;
    await this.#file?.close();
    this.#file = undefined;
  }

  #flush(): void {
    const block = this.#pending.join("");
    this.#pending = [];
    this.#pendingBytes = 0;
    if (block === "" || this.#failed) return;
    this.#writing = this.#writing
      .then(() => this.#write(block))
      .catch((error: unknown) => {
        if (this.#failed) return; // blocks that were already waiting fail the same way
        this.#failed = true;
        this.#log.warn({ err: error, path: this.#path }, "the trace cannot be written; recording ends");
      });
  }

  async #write(block: string): Promise<void> {
    this.#file ??= await open(this.#path, "a");
    if (this.#fileBytes === 0) this.#fileBytes = (await this.#file.stat()).size;
    if (this.#fileBytes > 0 && this.#fileBytes + block.length > this.#mostBytes) {
      await this.#file.close();
      await rename(this.#path, `${this.#path}.1`);
      this.#file = await open(this.#path, "a");
      this.#fileBytes = 0;
    }
    await this.#file.writeFile(block);
    this.#fileBytes += block.length;
  }
}
