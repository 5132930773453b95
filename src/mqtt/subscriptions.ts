// One message, one delivery, also where filters overlap. An MQTT 5 broker may send a message once for each subscription that
// matches (§3.3.4; mosquitto does), and a question without an id would be answered as often. So each filter gets a number
// that comes back with its copies (subscription identifier), and only the copy of the first filter that matches counts.
import { digest } from "../core/digest.ts";
import type { IncomingMessage } from "../core/message.ts";
import { filtersOverlap, matchFilter } from "../core/topics.ts";

/** Subscription identifiers go from 1 to this (MQTT 5 §3.8.2.1.2). */
const MAX_IDENTIFIER = 268_435_455;

export class Subscriptions {
  readonly filters: readonly string[];
  /** Shared ones are left alone: their copies are spread over the agents of a group. */
  readonly #own: readonly string[];
  #granted: readonly string[];

  constructor(filters: readonly string[]) {
    this.filters = filters;
    this.#own = filters.filter((filter) => !filter.startsWith("$share/"));
    this.#granted = this.#own;
  }

  /** The number of each filter, where numbers are needed. */
  get identifiers(): ((filter: string) => number) | undefined {
    const overlap = this.#own.some((one, index) =>
      this.#own.slice(index + 1).some((other) => filtersOverlap(one, other)),
    );
    return overlap ? identifierOf : undefined;
  }

  /** What the broker has granted: the copies of a filter that it refuses will never come. */
  grant(filters: readonly string[]): void {
    this.#granted = this.#own.filter((filter) => filters.includes(filter));
  }

  /** A copy of what comes, or has come, for another filter. Without numbers, or with one we do not know, it is not one. */
  isCopy({ topic, subscriptionIds = [] }: IncomingMessage): boolean {
    if (subscriptionIds.length === 0) return false;
    const matching = this.#granted.filter((filter) => matchFilter(filter, topic)).map(identifierOf);
    const [first] = matching;
    if (first === undefined || subscriptionIds.includes(first)) return false;
    return subscriptionIds.every((id) => matching.includes(id));
  }
}

/** From the filter itself, so that what the broker has kept for us still means the same after a change of the routes. */
function identifierOf(filter: string): number {
  return 1 + (Number.parseInt(digest(new TextEncoder().encode(filter)).slice(0, 8), 16) % MAX_IDENTIFIER);
}
