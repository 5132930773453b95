// The sessions of an agent, in memory: bounded in number, bytes and age. A sender with many loses its own before others do.
import type { Clock } from "../core/ports.ts";
import type { Question } from "../core/request.ts";
import { type Exchange, sessionKey } from "../core/session.ts";

export interface SessionBounds {
  /** 0 keeps none. */
  max: number;
  /** Bytes of text of one session. */
  maxBytes: number;
  /** A session that was not used for so long is forgotten. */
  idleMs: number;
}

/** Of all places, for one sender. */
const SENDER_SHARE = 0.25;

export class Session {
  readonly sender: string;
  readonly #maxBytes: number;
  readonly #exchanges: Exchange[] = [];
  #bytes = 0;
  #lost = 0;
  /** The first exchange that was read the last time, in a context of that size. */
  #read = { from: 0, contextTokens: 0 };
  usedMs = 0;

  constructor(sender: string, maxBytes: number) {
    this.sender = sender;
    this.#maxBytes = maxBytes;
  }

  /** What was said, the oldest first. */
  get exchanges(): readonly Exchange[] {
    return this.#exchanges;
  }

  /** Exchanges that are no longer kept. */
  get lost(): number {
    return this.#lost;
  }

  /** Where to begin reading: where the last prompt did, unless the context has another size by now. */
  from(contextTokens: number): number {
    return this.#read.contextTokens === contextTokens ? this.#read.from : 0;
  }

  reads(from: number, contextTokens: number): void {
    this.#read = { from, contextTokens };
  }

  add(exchange: Exchange): void {
    this.#exchanges.push(exchange);
    this.#bytes += bytesOf(exchange);
    while (this.#bytes > this.#maxBytes) {
      const oldest = this.#exchanges.shift();
      if (!oldest) break;
      this.#bytes -= bytesOf(oldest);
      this.#lost += 1;
      this.#read.from = Math.max(0, this.#read.from - 1);
    }
  }
}

export class Sessions {
  readonly #bounds: SessionBounds;
  readonly #clock: Clock;
  /** The least recently used first. */
  readonly #sessions = new Map<string, Session>();

  constructor(bounds: SessionBounds, clock: Clock) {
    this.#bounds = bounds;
    this.#clock = clock;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** The session a question belongs to, new or old; undefined when it names none or none are kept. */
  of(question: Pick<Question, "route" | "sender" | "session">): Session | undefined {
    const { max, maxBytes, idleMs } = this.#bounds;
    if (question.session === undefined || max === 0) return undefined;
    const nowMs = this.#clock.nowMs();
    for (const [key, { usedMs }] of this.#sessions) {
      if (nowMs - usedMs < idleMs) break;
      this.#sessions.delete(key);
    }
    const key = sessionKey(question);
    const known = this.#sessions.get(key);
    if (!known) this.#makeRoom(question.sender);
    const session = known ?? new Session(question.sender, maxBytes);
    session.usedMs = nowMs;
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    return session;
  }

  #makeRoom(sender: string): void {
    const entries = [...this.#sessions];
    const own = entries.filter(([, session]) => session.sender === sender);
    const most = Math.max(1, Math.floor(this.#bounds.max * SENDER_SHARE));
    const [oldest] = own.length >= most ? own : entries.length >= this.#bounds.max ? entries : [];
    if (oldest) this.#sessions.delete(oldest[0]);
  }
}

function bytesOf({ asked, answered }: Exchange): number {
  return Buffer.byteLength(asked) + Buffer.byteLength(answered);
}
