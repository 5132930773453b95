// Holds questions back while models are changed: none begins, and whoever holds them learns when none runs any more.

/** The stop that a change of models needs. */
export interface QuestionStop {
  /** No question runs. */
  readonly isQuiet: boolean;
  /** Resolves when none does. */
  quiet: Promise<void>;
  release(): void;
}

export class QuestionStops {
  readonly #stops = new Set<QuestionStop>();
  readonly #isQuiet: () => boolean;
  readonly #onReleased: () => void;
  #waiting: (() => void)[] = [];

  constructor(isQuiet: () => boolean, onReleased: () => void) {
    this.#isQuiet = isQuiet;
    this.#onReleased = onReleased;
  }

  get active(): boolean {
    return this.#stops.size > 0;
  }

  begin(): QuestionStop {
    const isQuiet = this.#isQuiet;
    const stop: QuestionStop = {
      quiet: isQuiet() ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve)),
      get isQuiet() {
        return isQuiet();
      },
      release: () => {
        if (this.#stops.delete(stop)) this.#onReleased();
      },
    };
    this.#stops.add(stop);
    return stop;
  }

  /** A question has ended. */
  ended(): void {
    if (this.#isQuiet()) for (const tell of this.#waiting.splice(0)) tell();
  }
}
