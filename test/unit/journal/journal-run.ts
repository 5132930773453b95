// A realistic life of a journal on a simulated disk, and the ledger of what it promised: which promise resolved after how
// many disk operations. From that follows what must be, may be and cannot be there when the power goes at any moment.
import { expect } from "vitest";
import type { OutgoingMessage } from "../../../src/core/message.ts";
import type { AcceptedQuestion, Recovered } from "../../../src/core/ports.ts";
import { FileJournal } from "../../../src/journal/file-journal.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import type { Random } from "../../fakes/random.ts";
import type { SimDisk } from "../../fakes/sim-disk.ts";

/** Disk operations done at the time of each event; undefined while it has not happened. */
interface Life {
  question: AcceptedQuestion;
  reply: OutgoingMessage;
  acceptCalled: number;
  accepted?: number;
  begun: number[];
  answerCalled?: number;
  /** An answer is on its way. */
  answering: boolean;
  answered?: number;
  settleCalled?: number;
  /** A later promise has resolved, and with it the settling is synced. */
  settleSafe?: number;
  buryCalled?: number;
  /** Chance a step of its next event: the slow outlive the segment they were written to, some several. */
  pace: number;
}

/** Small enough that some hundred questions fill, carry over and drop segments. */
export const SMALL_JOURNAL_BYTES = 128 * 1024;

/** Of 102 settled questions that a journal of this size remembers, those that cannot have been pushed out. */
const REMEMBERED = 60;

export class JournalRun {
  disk: SimDisk;
  journal: FileJournal;
  readonly clock = new FakeClock();
  readonly logger = new FakeLogger();
  readonly lives = new Map<string, Life>();
  readonly rejections: unknown[] = [];
  readonly writable: boolean[] = [];
  readonly #random: Random;
  readonly #prefix: string;
  readonly #maxBytes: number;
  #count = 0;

  constructor(disk: SimDisk, random: Random, prefix = "q", maxBytes = SMALL_JOURNAL_BYTES) {
    this.disk = disk;
    this.#random = random;
    this.#prefix = prefix;
    this.#maxBytes = maxBytes;
    this.journal = this.#make();
  }

  get now(): number {
    return this.disk.operations.length;
  }

  async start(): Promise<Recovered> {
    const recovered = await this.journal.start();
    // What a new run finds was on the disk before its first operation.
    this.#learn(recovered, 0);
    return recovered;
  }

  /** The process is killed and started again; the disk keeps its power. */
  async killAndRestart(): Promise<void> {
    this.disk = this.disk.kill();
    this.journal = this.#make();
    const recovered = await this.journal.start();
    this.verify(this.journal, recovered, this.now);
    this.#learn(recovered, this.now);
  }

  async stopAndRestart(): Promise<void> {
    await this.journal.stop();
    this.journal = this.#make();
    const recovered = await this.journal.start();
    this.verify(this.journal, recovered, this.now);
    this.#learn(recovered, this.now);
  }

  /** A handful of calls at once, as eight askers would make them; resolves when all have been answered. */
  async step(): Promise<void> {
    const random = this.#random;
    const waiting: Promise<void>[] = [];
    if (random.chance(0.3)) {
      // Starts and settlings that no promise follows for a while.
      waiting.push(...this.#answerSome());
      await new Promise((resolve) => setImmediate(resolve));
    }
    waiting.push(...this.#answerSome());
    for (let calls = 1 + random.below(4); calls > 0; calls--) waiting.push(this.#accept());
    await Promise.all(waiting);
  }

  #answerSome(): Promise<void>[] {
    const random = this.#random;
    const waiting: Promise<void>[] = [];
    for (const [key, life] of this.lives) {
      if (!random.chance(life.pace)) continue;
      if (life.accepted !== undefined && life.answered === undefined && !life.answering) {
        life.begun.push(this.now);
        this.journal.begin(key);
        if (random.chance(0.9)) waiting.push(this.#answer(key, life));
      } else if (life.answered !== undefined && life.settleCalled === undefined) {
        if (random.chance(0.1) && life.buryCalled === undefined) {
          life.buryCalled = this.now;
          this.journal.bury(key);
        }
        life.settleCalled = this.now;
        this.journal.settle(key);
      }
    }
    return waiting;
  }

  /** Compares what a journal has recovered after a power cut behind `operations` with what was promised by then. */
  verify(journal: FileJournal, recovered: Recovered, operations: number): void {
    const happened = (at: number | undefined): boolean => at !== undefined && at <= operations;
    const open = new Map(recovered.open.map((entry) => [entry.question.key, entry]));
    const unsettled = new Map(recovered.unsettled.map((entry) => [entry.key, entry.reply]));
    const settled = [...this.lives.values()].filter((life) => happened(life.settleSafe));
    settled.sort((a, b) => (a.settleCalled ?? 0) - (b.settleCalled ?? 0));
    const remembered = new Set(settled.slice(-REMEMBERED));
    for (const [key, life] of this.lives) {
      const state = journal.state(key);
      const possible: string[] = [];
      if (!happened(life.accepted) || (happened(life.settleCalled) && !remembered.has(life))) possible.push("unknown");
      if (happened(life.acceptCalled) && !happened(life.answered)) possible.push("accepted");
      if (happened(life.answerCalled) && !happened(life.settleSafe)) possible.push("answered");
      if (happened(life.settleCalled)) possible.push("settled");
      if (happened(life.buryCalled)) possible.push("dead");
      if (!possible.includes(state)) expect.fail(`${key} is ${state}, possible: ${possible.join(", ")}`);
      const stored = journal.reply(key);
      if (stored !== undefined && !equal(stored, life.reply)) expect.fail(`${key} has another reply`);
      const found = open.get(key);
      if ((state === "accepted") !== (found !== undefined)) expect.fail(`${key} is ${state}, open: ${String(found)}`);
      if (found !== undefined && !equal(found.question, life.question)) expect.fail(`${key} has another question`);
      const starts = life.begun.filter(happened).length;
      if (found !== undefined && found.starts > starts)
        expect.fail(`${key} was begun ${starts} times, not ${found.starts}`);
      const again = unsettled.get(key);
      if (state === "answered" && again === undefined) expect.fail(`${key} is answered and not handed back`);
      if (again !== undefined && happened(life.settleSafe)) expect.fail(`${key} was settled and is handed back`);
    }
    for (const key of [...open.keys(), ...unsettled.keys()])
      if (!this.lives.has(key)) expect.fail(`${key} is invented`);
  }

  #make(): FileJournal {
    return new FileJournal({
      directory: "/journal",
      durability: "full",
      maxBytes: this.#maxBytes,
      clock: this.clock,
      logger: this.logger,
      disk: this.disk,
      onWritable: (writable) => void this.writable.push(writable),
      salt: () => this.#random.below(2 ** 32),
    });
  }

  async #accept(): Promise<void> {
    const key = `${this.#prefix}${++this.#count}`;
    const random = this.#random;
    const bytes = random.chance(0.1) ? 3_000 + random.below(3_000) : random.below(600);
    const payload = Uint8Array.from({ length: bytes }, () => random.below(256));
    const life: Life = {
      question: question(key, { payload, userProperties: { sender: "kitchen" } }),
      reply: reply(key, { payload: payload.subarray(0, bytes / 2), correlationData: payload.slice(0, 8) }),
      acceptCalled: this.now,
      begun: [],
      answering: false,
      pace: random.pick([0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.03, 0.003]) ?? 0,
    };
    this.lives.set(key, life);
    await this.#awaited(this.journal.accept(life.question), () => (life.accepted = this.now));
  }

  async #answer(key: string, life: Life): Promise<void> {
    life.answerCalled ??= this.now;
    life.answering = true;
    await this.#awaited(this.journal.answer(key, life.reply), () => (life.answered = this.now));
    life.answering = false;
  }

  async #awaited(promise: Promise<void>, then: () => void): Promise<void> {
    const settledBefore = [...this.lives.values()].filter((life) => life.settleCalled !== undefined);
    try {
      await promise;
    } catch (error) {
      this.rejections.push(error);
      return;
    }
    then();
    for (const life of settledBefore) life.settleSafe ??= this.now;
  }

  /** What a start hands back is relied on from then on; what it does not know will not come back. */
  #learn(recovered: Recovered, now: number): void {
    for (const { question: asked, starts } of recovered.open) {
      const life = this.lives.get(asked.key) ?? this.#adopt(asked.key, { question: asked });
      life.accepted ??= now;
      life.answerCalled = undefined;
      life.answering = false;
      while (life.begun.length < starts) life.begun.push(now);
    }
    for (const { key, reply: stored } of recovered.unsettled) {
      const life = this.lives.get(key) ?? this.#adopt(key, { reply: stored });
      life.accepted ??= now;
      life.answerCalled ??= now;
      life.answered ??= now;
      // A settling that did not survive is made again.
      life.settleCalled = life.settleSafe = undefined;
    }
    for (const [key, life] of this.lives) {
      const state = this.journal.state(key);
      // Never reached the disk before the kill.
      if (state === "unknown" && life.accepted === undefined) this.lives.delete(key);
      if (life.settleCalled !== undefined && (state === "settled" || state === "dead")) life.settleSafe ??= now;
    }
  }

  #adopt(key: string, known: Pick<Life, "question"> | Pick<Life, "reply">): Life {
    const life: Life = {
      question: question(key),
      reply: reply(key),
      begun: [],
      answering: false,
      pace: 0.8,
      ...known,
      acceptCalled: 0,
    };
    this.lives.set(key, life);
    return life;
  }
}

/** Payloads are compared as bytes, the rest as text: this runs some hundred times for each of thousands of disks. */
function equal(a: AcceptedQuestion | OutgoingMessage, b: AcceptedQuestion | OutgoingMessage): boolean {
  if (Buffer.compare(a.payload, b.payload) !== 0) return false;
  return textOf(a) === textOf(b);
}

function textOf({ payload: _, correlationData, ...rest }: AcceptedQuestion | OutgoingMessage): string {
  const fields = Object.entries({ ...rest, c: correlationData && Buffer.from(correlationData).toString("hex") });
  return JSON.stringify(fields.sort(([x], [y]) => (x < y ? -1 : 1)));
}
