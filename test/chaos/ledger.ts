// What was asked against what was answered: the whole truth of a delivery run. An id is lost when no final reply came,
// doubled when two came that differ, repeated when the same bytes came more than once.

export interface Tally {
  asked: number;
  answered: number;
  lost: string[];
  /** Ids with more than one distinct content. */
  doubled: string[];
  /** Identical copies beyond the first. */
  repeats: number;
  /** Replies to ids never asked. */
  strange: number;
  /** First replies by status, errors by code. */
  byStatus: Record<string, number>;
}

export class Ledger {
  readonly #asked = new Set<string>();
  readonly #replies = new Map<string, Map<string, number>>();
  readonly #byStatus: Record<string, number> = {};
  #strange = 0;
  #waiting: { until: () => boolean; resolve: () => void }[] = [];

  get asked(): number {
    return this.#asked.size;
  }

  get answered(): number {
    return this.#replies.size;
  }

  get outstanding(): number {
    return this.asked - this.answered;
  }

  ask(id: string): void {
    this.#asked.add(id);
  }

  /** A final reply as it came off the wire. */
  answer(payload: string): void {
    const { id, status, error } = JSON.parse(payload) as { id: string; status: string; error?: { code: string } };
    if (!this.#asked.has(id)) {
      this.#strange += 1;
      return;
    }
    const copies = this.#replies.get(id) ?? new Map<string, number>();
    if (copies.size === 0) {
      const name = error?.code ?? status;
      this.#byStatus[name] = (this.#byStatus[name] ?? 0) + 1;
    }
    copies.set(payload, (copies.get(payload) ?? 0) + 1);
    this.#replies.set(id, copies);
    for (const { resolve } of this.#waiting.filter(({ until }) => until())) resolve();
    this.#waiting = this.#waiting.filter(({ until }) => !until());
  }

  /** Resolves when at most `count` questions are without a reply. */
  whenOutstanding(count: number): Promise<void> {
    return this.#when(() => this.outstanding <= count);
  }

  /** Resolves when at least `count` questions have a reply. */
  whenAnswered(count: number): Promise<void> {
    return this.#when(() => this.answered >= count);
  }

  /** Resolves when the first reply of this status, or error code, has come. */
  whenReplied(status: string): Promise<void> {
    return this.#when(() => (this.#byStatus[status] ?? 0) > 0);
  }

  #when(until: () => boolean): Promise<void> {
    if (until()) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ until, resolve }));
  }

  tally(): Tally {
    const copies = [...this.#replies];
    return {
      asked: this.asked,
      answered: this.answered,
      lost: [...this.#asked].filter((id) => !this.#replies.has(id)),
      doubled: copies.filter(([, contents]) => contents.size > 1).map(([id]) => id),
      repeats: copies.reduce((sum, [, contents]) => sum + [...contents.values()].reduce((a, b) => a + b) - 1, 0),
      strange: this.#strange,
      byStatus: this.#byStatus,
    };
  }
}
