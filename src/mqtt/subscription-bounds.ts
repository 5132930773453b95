// How much the embedded broker remembers of what its clients want to hear. Every filter takes about 1.5 KiB, and those of a
// persistent session stay when its client has gone: without bounds one client filled 280 MB in seconds. Generous for a board:
// mosquitto needs none because it is not the agent's own process.
import { filterFault } from "../core/topics.ts";

export interface SubscriptionLimits {
  ofOneClient: number;
  inAll: number;
  /** Clients with at least one subscription, those that are away included. */
  clients: number;
}

export const DEFAULT_SUBSCRIPTIONS: SubscriptionLimits = { ofOneClient: 1000, inAll: 10_000, clients: 1000 };
const MAX_FILTER_CHARACTERS = 1024;

export class SubscriptionBounds {
  readonly #limits: SubscriptionLimits;
  readonly #topics = new Map<string, Set<string>>();
  #count = 0;

  constructor(limits: SubscriptionLimits = DEFAULT_SUBSCRIPTIONS) {
    this.#limits = limits;
  }

  /** Why the client cannot have one more; undefined notes that it has. */
  fault(clientId: string, filter: string): string | undefined {
    const own = this.#topics.get(clientId);
    if (own?.has(filter)) return undefined;
    const { ofOneClient, inAll, clients } = this.#limits;
    if (filter.length > MAX_FILTER_CHARACTERS) return `a filter has at most ${MAX_FILTER_CHARACTERS} characters`;
    const wrong = filterFault(filter);
    if (wrong !== undefined) return `the filter ${wrong}`;
    if (own === undefined && this.#topics.size >= clients) return `${clients} clients have subscriptions already`;
    if (own !== undefined && own.size >= ofOneClient) return `a client has at most ${ofOneClient} subscriptions`;
    if (this.#count >= inAll) return `there are ${inAll} subscriptions already`;
    this.#topics.set(clientId, (own ?? new Set()).add(filter));
    this.#count += 1;
    return undefined;
  }

  remove(clientId: string, filter: string): void {
    const own = this.#topics.get(clientId);
    if (!own?.delete(filter)) return;
    this.#count -= 1;
    if (own.size === 0) this.#topics.delete(clientId);
  }

  /** The session has ended, and its subscriptions with it. */
  end(clientId: string): void {
    this.#count -= this.#topics.get(clientId)?.size ?? 0;
    this.#topics.delete(clientId);
  }
}
