// The journal of `durability: memory`: the same rules and bounds as the file journal and nothing written. Loses, when the
// process ends for whatever reason, every accepted question without an answer, every unpublished reply, and the memory of
// which ids were answered (a repeat is then answered anew). The broker has its PUBACK by then and will not send them again.
import type { Attempts } from "../core/attempts.ts";
import type { OutgoingMessage } from "../core/message.ts";
import type { AcceptedQuestion, Clock, Journal, QuestionState, Recovered } from "../core/ports.ts";
import { Book, DEFAULT_RETENTION, type Retention } from "./book.ts";

export interface MemoryJournalOptions {
  clock: Clock;
  retention?: Partial<Retention>;
}

export class MemoryJournal implements Journal {
  readonly durable = false;
  readonly #clock: Clock;
  readonly #book: Book;

  constructor({ clock, retention }: MemoryJournalOptions) {
    this.#clock = clock;
    this.#book = new Book({ ...DEFAULT_RETENTION, ...retention });
  }

  start(): Promise<Recovered> {
    return Promise.resolve(this.#book.recovered());
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  state(key: string): QuestionState {
    return this.#book.state(key);
  }

  reply(key: string): OutgoingMessage | undefined {
    return this.#book.reply(key);
  }

  accept(question: AcceptedQuestion): Promise<void> {
    if (this.#book.get(question.key) === undefined) this.#book.accept(question);
    return Promise.resolve();
  }

  acceptedAs(packetId: number): string | undefined {
    return this.#book.acceptedAs(packetId);
  }

  begin(key: string): Attempts {
    const { starts, deaths } = this.#book.begin(key);
    return { starts, deaths };
  }

  interrupt(key: string, cause: "death" | "stop"): Attempts {
    const { starts, deaths } = this.#book.interrupt(key, cause);
    return { starts, deaths };
  }

  async answer(key: string, reply: OutgoingMessage): Promise<void> {
    const known = this.#book.get(key);
    if (known !== undefined && known.phase !== "accepted") return;
    this.#book.answer(key, reply);
  }

  settle(key: string): void {
    this.#book.settle(key, this.#clock.nowMs(), this.#clock.wallMs());
  }

  bury(key: string): void {
    this.#book.bury(key);
  }
}
