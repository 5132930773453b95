// A disk that is full or broken: at every single operation of a run, and for a while.
import { describe, expect, test } from "vitest";
import { question, reply } from "../../contract/journal.ts";
import { leaveFigures } from "../../fixtures/figures.ts";
import { Random } from "../../fakes/random.ts";
import { SimDisk, diskError } from "../../fakes/sim-disk.ts";
import { JournalRun } from "./journal-run.ts";

const STEPS = 30;
const UNAVAILABLE = expect.objectContaining({ kind: "transient", code: "journal_unavailable", retryAfterMs: 1000 });

/** Lets the retry come and its disk operations pass. */
async function retry(run: JournalRun): Promise<void> {
  run.clock.advance(1000);
  for (let turn = 0; turn < 50 && !run.journal.stats.writable; turn++) await turnOfTheLoop();
}

function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A run whose disk refuses the operations `from` up to `from + count`; returns how many it was asked for. */
async function faultyRun(seed: number, code: "ENOSPC" | "EIO", from: number, count: number): Promise<JournalRun> {
  const run = new JournalRun(new SimDisk(), new Random(seed));
  const keep = new Random(from);
  run.disk.fault = (kind, index) => {
    if (index < from || index >= from + count) return undefined;
    return { error: diskError(code), keepBytes: kind === "write" && keep.chance(0.5) ? keep.below(2000) : undefined };
  };
  await run.start();
  for (let step = 0; step < STEPS; step++) {
    await run.step();
    if (!run.journal.stats.writable) await retry(run);
  }
  return run;
}

test("a write that never returns is owed until it does, a disk that refuses owes nothing", async () => {
  const disk = new SimDisk();
  const run = new JournalRun(disk, new Random(1));
  await run.start();
  expect(run.journal.health().doing).toBeUndefined();
  let release = (): void => {};
  disk.hang = new Promise<void>((resolve) => (release = resolve));
  const accepted = run.journal.accept(question("a"));
  for (let turn = 0; turn < 20; turn++) await turnOfTheLoop();
  const hanging = run.journal.health();
  expect(hanging.doing).toEqual({ what: "a write to the disk", stepMs: 60_000 });
  for (let turn = 0; turn < 20; turn++) await turnOfTheLoop();
  expect(run.journal.health()).toEqual(hanging);
  disk.hang = undefined;
  release();
  await accepted;
  for (let turn = 0; turn < 20; turn++) await turnOfTheLoop();
  expect(run.journal.health().doing).toBeUndefined();
  disk.fault = () => ({ error: diskError("ENOSPC") });
  await expect(run.journal.accept(question("b"))).rejects.toEqual(UNAVAILABLE);
  for (let turn = 0; turn < 20; turn++) await turnOfTheLoop();
  expect(run.journal.health().doing).toBeUndefined();
});

describe("a disk that refuses", () => {
  test.each([
    ["ENOSPC", 1],
    ["EIO", 1],
    ["ENOSPC", 7],
    ["EIO", 7],
  ] as const)(
    "%s at any operation, %d in a row: calls reject as transient, the journal recovers, nothing that resolved is lost",
    { timeout: 120_000 },
    async (code, count) => {
      const seed = count;
      const operations = (await faultyRun(seed, code, Infinity, 0)).disk.asked;
      expect(operations).toBeGreaterThan(40);
      let states = 0;
      for (let from = 0; from < operations; from++) {
        const run = await faultyRun(seed, code, from, count);
        run.disk.fault = undefined;
        // The next segment may still be on its way, and its fault too.
        for (let turn = 0; turn < 20; turn++) await turnOfTheLoop();
        if (!run.journal.stats.writable) await retry(run);
        const before = run.rejections.length;
        await run.step();
        expect(run.rejections.length, `refused after operation ${from} worked again`).toBe(before);
        for (const rejection of run.rejections) expect(rejection).toEqual(UNAVAILABLE);

        const random = new Random(from);
        const cuts = run.disk.powerCuts();
        while (cuts.forward()) {
          if (cuts.done < run.now && !random.chance(0.03)) continue;
          const after = new JournalRun(cuts.cut(random.pick([0, 0.5, 1]) ?? 0, random), random);
          run.verify(after.journal, await after.journal.start(), cuts.done);
          await after.journal.stop();
          states += 1;
        }
      }
      leaveFigures("disk", "none", {
        "operations refused, one run each": operations,
        "states of the disk opened": states,
        "promises broken": 0,
      });
    },
  );

  test("for long: is tried once a second, complains once, tells when it works, and then holds what came meanwhile", async () => {
    const run = new JournalRun(new SimDisk(), new Random(1));
    const { journal, disk } = run;
    await journal.start();
    await journal.accept(question("a"));
    await journal.accept(question("b"));
    await journal.answer("b", reply("b"));
    disk.fault = () => ({ error: diskError("ENOSPC") });

    await expect(journal.accept(question("c"))).rejects.toEqual(UNAVAILABLE);
    expect(journal.state("c")).toBe("unknown");
    await expect(journal.answer("a", reply("a"))).rejects.toEqual(UNAVAILABLE);
    expect(journal.state("a")).toBe("accepted");
    expect(journal.begin("a")).toEqual({ starts: 1, deaths: 0 });
    journal.settle("b");

    const asked = disk.asked;
    for (let second = 0; second < 5; second++) await retry(run);
    expect(disk.asked).toBe(asked + 5);
    expect(run.logger.lines.filter(({ level }) => level === "error")).toHaveLength(1);
    expect(run.writable).toEqual([false]);

    disk.fault = undefined;
    await retry(run);
    expect(run.writable).toEqual([false, true]);
    await journal.accept(question("c"));

    const after = new JournalRun(disk.kill(), new Random(2));
    expect(await after.journal.start()).toEqual({
      open: [
        { question: question("a"), starts: 1, deaths: 0 },
        { question: question("c"), starts: 0, deaths: 0 },
      ],
      unsettled: [],
    });
    expect(after.journal.state("b")).toBe("settled");
  });

  test("from the start on: what is there is read, questions are refused until it works", async () => {
    const first = new JournalRun(new SimDisk(), new Random(1));
    await first.journal.start();
    await first.journal.accept(question("a"));

    const run = new JournalRun(first.disk.kill(), new Random(2));
    run.disk.fault = () => ({ error: diskError("EROFS") });
    expect((await run.journal.start()).open).toHaveLength(1);
    await expect(run.journal.accept(question("b"))).rejects.toEqual(UNAVAILABLE);
    run.disk.fault = undefined;
    await retry(run);
    await run.journal.accept(question("b"));
    await run.journal.stop();
  });

  test("does not keep the journal from stopping", async () => {
    const run = new JournalRun(new SimDisk(), new Random(1));
    await run.journal.start();
    await run.journal.accept(question("a"));
    run.journal.begin("a");
    run.disk.fault = () => ({ error: diskError("EIO") });
    await run.journal.stop();
    expect(run.disk.locked).toBe(false);
    expect(run.clock.pending).toBe(0);
  });
});

describe("a disk smaller than the journal's bound", () => {
  const MAX_BYTES = 16 * 2 ** 20;

  async function smallDisk(capacityBytes: number): Promise<JournalRun> {
    const run = new JournalRun(new SimDisk(), new Random(1), "q", MAX_BYTES);
    run.disk.capacityBytes = capacityBytes;
    await run.start();
    return run;
  }

  /** Asked, answered and settled one after the other; rejects as the journal does. */
  async function finish(run: JournalRun, from: number, to: number): Promise<void> {
    for (let index = from; index < to; index++) {
      const key = `f${index}`;
      await run.journal.accept(question(key, { payload: new Uint8Array(400) }));
      run.journal.begin(key);
      await run.journal.answer(key, reply(key));
      run.journal.settle(key);
    }
  }

  test("takes half of it, forgets the oldest finished questions early, keeps what is open, and says so once", async () => {
    const run = await smallDisk(600 * 1024);
    await run.journal.accept(question("slow"));
    await finish(run, 0, 3_000);
    expect(run.writable).toEqual([]);
    expect(run.disk.usedBytes).toBeLessThanOrEqual(300 * 1024);
    expect(run.journal.state("f0")).toBe("unknown");
    expect(run.journal.state("f2900")).toBe("settled");
    expect(run.logger.lines.filter(({ message }) => message.includes("little room"))).toHaveLength(1);
    const after = new JournalRun(run.disk.kill(), new Random(2));
    expect((await after.journal.start()).open.map(({ question: { key } }) => key)).toEqual(["slow"]);
    await after.journal.stop();
  });

  test("gives way to others who fill it bit by bit, and remembers more again when they are gone", async () => {
    const run = await smallDisk(4 * 2 ** 20);
    let asked = 0;
    const more = async (): Promise<void> => finish(run, asked, (asked += 500));
    for (let round = 0; round < 6; round++) await more();
    const usedBefore = run.disk.usedBytes;
    expect(usedBefore).toBeGreaterThan(2 ** 20);
    while (run.disk.capacityBytes > 700 * 1024) {
      run.disk.capacityBytes -= 256 * 1024;
      await more();
    }
    expect(run.writable).toEqual([]);
    expect(run.disk.usedBytes).toBeLessThanOrEqual(run.disk.capacityBytes / 2);
    const remembered = run.journal.stats.finished;
    run.disk.capacityBytes = Infinity;
    for (let round = 0; round < 6; round++) await more();
    expect(run.journal.stats.finished).toBeGreaterThan(2 * remembered);
  });

  test("does not write what is open over and over when it takes more than half of the room", async () => {
    const run = await smallDisk(8 * 2 ** 20);
    for (let index = 0; index < 30; index++)
      await run.journal.accept(question(`open${index}`, { payload: new Uint8Array(50_000) }));
    run.disk.capacityBytes = run.disk.usedBytes + 2 ** 20;
    const before = run.journal.stats.written.bytes;
    await finish(run, 0, 1_000);
    expect(run.writable).toEqual([]);
    expect((run.journal.stats.written.bytes - before) / 1_000).toBeLessThan(8 * 1024);
    expect(run.journal.stats.unfinished).toBe(30);
  });

  test("filled at once, for a while: nothing is forgotten", async () => {
    const run = await smallDisk(4 * 2 ** 20);
    await finish(run, 0, 1_000);
    run.disk.capacityBytes = run.disk.usedBytes;
    await expect(finish(run, 1_000, 1_100)).rejects.toEqual(UNAVAILABLE);
    for (let second = 0; second < 5; second++) await retry(run);
    expect(run.journal.state("f0")).toBe("settled");
    run.disk.capacityBytes = 4 * 2 ** 20;
    await retry(run);
    expect(run.writable).toEqual([false, true]);
    expect(run.journal.state("f0")).toBe("settled");
  });

  test("keeps its promises when the power goes at any moment", { timeout: 120_000 }, async () => {
    const random = new Random(3);
    const run = new JournalRun(new SimDisk(), random, "q", MAX_BYTES);
    run.disk.capacityBytes = 300 * 1024;
    await run.start();
    for (let step = 0; step < 150; step++) await run.step();
    expect(run.rejections).toEqual([]);
    expect(run.disk.operations.filter(({ kind }) => kind === "unlink").length).toBeGreaterThan(3);
    const cuts = run.disk.powerCuts();
    while (cuts.forward()) {
      if (!random.chance(0.3)) continue;
      const after = new JournalRun(cuts.cut(random.pick([0, 0.5, 1]) ?? 0, random), random);
      run.verify(after.journal, await after.journal.start(), cuts.done);
      await after.journal.stop();
    }
  });
});
