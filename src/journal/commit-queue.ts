// Group commit: whatever is added while one commit is under way shares the next one, so that eight questions at once cost
// one or two syncs and not eight. One commit at a time, in the order of arrival.

export interface CommitQueueOptions<T> {
  /** Writes the items; they are all done, or all failed with what it rejects with. */
  commit: (items: T[]) => Promise<void>;
  /** Runs alone between commits, after those who wait for the last one were told. Must not reject. */
  between: () => Promise<void>;
}

interface Waiting<T> {
  item: T;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class CommitQueue<T> {
  readonly #options: CommitQueueOptions<T>;
  #waiting: Waiting<T>[] = [];
  #kicked = false;
  #running: Promise<void> | undefined;

  constructor(options: CommitQueueOptions<T>) {
    this.#options = options;
  }

  /** Something is being written, or waits for that. */
  get busy(): boolean {
    return this.#running !== undefined;
  }

  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#wake();
    });
  }

  /** Runs `between` soon, with or without items. */
  kick(): void {
    this.#kicked = true;
    this.#wake();
  }

  /** Resolves when all that was added or kicked is done. */
  async idle(): Promise<void> {
    await this.#running;
  }

  #wake(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#waiting.length > 0 || this.#kicked) this.#wake();
    });
  }

  async #run(): Promise<void> {
    // Lets the callers of this turn of the event loop share the first commit.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#kicked) {
      this.#kicked = false;
      const batch = this.#waiting;
      this.#waiting = [];
      if (batch.length > 0) await this.#commit(batch);
      await this.#options.between();
    }
  }

  async #commit(batch: Waiting<T>[]): Promise<void> {
    try {
      await this.#options.commit(batch.map(({ item }) => item));
      for (const { resolve } of batch) resolve();
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
