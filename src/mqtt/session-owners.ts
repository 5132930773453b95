// Whose session a client id is: MQTT hands a session, with everything that waits in it, to whoever connects under its id, and
// cuts off who had it. Between users that would be a way to read and to silence each other, so an id stays with the user who
// had it first, for as long as there is a session. The agent's own id is known to everybody.
import { LruMap } from "../core/lru.ts";

const MOST_SESSIONS = 4096;

export class SessionOwners {
  readonly #owners = new LruMap<string, string>(MOST_SESSIONS);

  /** True when the session is the user's, or nobody's until now. */
  claim(clientId: string, username: string): boolean {
    const owner = this.#owners.get(clientId) ?? username;
    if (owner !== username) return false;
    this.#owners.set(clientId, username);
    return true;
  }

  /** The session has ended with its connection. */
  release(clientId: string): void {
    this.#owners.delete(clientId);
  }
}
