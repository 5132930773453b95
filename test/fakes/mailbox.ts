// A queue a test waits on: what arrives is taken in order, and taking waits until something has arrived. No sleeps.

export class Mailbox<T> {
  #items: T[] = [];
  #takers: ((item: T) => void)[] = [];

  get length(): number {
    return this.#items.length;
  }

  put(item: T): void {
    const taker = this.#takers.shift();
    if (taker) taker(item);
    else this.#items.push(item);
  }

  take(): Promise<T> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve(item);
    return new Promise((resolve) => this.#takers.push(resolve));
  }

  /** The first item from here on that `wanted` accepts; those before it are dropped. */
  async takeUntil(wanted: (item: T) => boolean): Promise<T> {
    for (;;) {
      const item = await this.take();
      if (wanted(item)) return item;
    }
  }
}
