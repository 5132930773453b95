// Equal questions asked at the same time share one run. The run is aborted only when nobody waits for it any more.

interface Flight<T> {
  result: Promise<T>;
  waiting: number;
  abort: AbortController;
}

export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  async run(key: string, signal: AbortSignal, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#begin(key, start);
    flight.waiting += 1;
    let onAbort = () => {};
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      return await Promise.race([flight.result, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      flight.waiting -= 1;
      if (flight.waiting === 0 && this.#flights.get(key) === flight) {
        this.#flights.delete(key);
        flight.abort.abort(signal.reason);
      }
    }
  }

  #begin(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const abort = new AbortController();
    const end = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    const flight: Flight<T> = { result: start(abort.signal), waiting: 0, abort };
    this.#flights.set(key, flight);
    // Also when everybody has left: a rejection that nobody hears must not end the process.
    flight.result.then(end, end);
    return flight;
  }
}
