// The file journal on a real directory, over restarts; what only shows in the operations, on the simulated disk.
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { OutgoingMessage } from "../../../src/core/message.ts";
import type { AcceptedQuestion } from "../../../src/core/ports.ts";
import { nodeDisk } from "../../../src/journal/disk.ts";
import { FileJournal } from "../../../src/journal/file-journal.ts";
import type { FileJournalOptions } from "../../../src/journal/file-journal.ts";
import { encodeHeader, segmentName } from "../../../src/journal/segment.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { Random } from "../../fakes/random.ts";
import { SimDisk, diskError } from "../../fakes/sim-disk.ts";

const DAY = 86_400_000;

describe("the file journal", () => {
  let directory: string;
  let clock: FakeClock;
  let logger: FakeLogger;
  const opened: FileJournal[] = [];

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "pipit-journal-"));
    clock = new FakeClock();
    logger = new FakeLogger();
  });

  afterEach(async () => {
    for (const journal of opened.splice(0)) await journal.stop();
    await rm(directory, { recursive: true });
  });

  function make(more: Partial<FileJournalOptions> = {}): FileJournal {
    const maxBytes = 1024 * 1024;
    const journal = new FileJournal({ directory, durability: "full", maxBytes, clock, logger, ...more });
    opened.push(journal);
    return journal;
  }

  /** The process is gone: nobody is left to stop the journal. */
  function kill(disk: SimDisk): SimDisk {
    opened.length = 0;
    return disk.kill();
  }

  async function restart(journal: FileJournal, more: Partial<FileJournalOptions> = {}): Promise<FileJournal> {
    await journal.stop();
    const next = make(more);
    await next.start();
    return next;
  }

  async function finish(journal: FileJournal, key: string, payload = 400): Promise<void> {
    await journal.accept(question(key, { payload: new Uint8Array(payload) }));
    journal.begin(key);
    await journal.answer(key, reply(key, { payload: new Uint8Array(payload) }));
    journal.settle(key);
  }

  const full: AcceptedQuestion = question("full", {
    payload: Uint8Array.from({ length: 256 }, (_, byte) => byte),
    responseTopic: "home/answers/ümläut",
    correlationData: Uint8Array.of(0, 1, 2, 255),
    userProperties: { sender: "kitchen", tags: ["a", "b"] },
  });

  test("hands back every field of a question and of a reply after a restart", async () => {
    const stored: OutgoingMessage = {
      topic: "home/answers",
      payload: full.payload,
      retain: false,
      correlationData: Uint8Array.of(9, 0),
      contentType: "application/json",
      text: true,
      expirySeconds: 12,
      userProperties: { epoch: "3" },
    };
    let journal = make();
    await journal.start();
    await journal.accept(full);
    journal.begin("full");
    await journal.accept(question("b"));
    await journal.answer("b", stored);
    await journal.stop();
    journal = make();
    expect(await journal.start()).toEqual({
      open: [{ question: full, starts: 1, deaths: 0 }],
      unsettled: [{ key: "b", reply: stored }],
    });
  });

  test("knows settled and dead questions and their replies after a restart, and hands back neither", async () => {
    let journal = make();
    await journal.start();
    await finish(journal, "a", 10);
    await journal.accept(question("b"));
    await journal.answer("b", reply("b"));
    journal.bury("b");
    await journal.accept(question("c"));
    await journal.answer("c", reply("c"));
    journal.bury("c");
    journal.settle("c");
    await journal.stop();
    journal = make();
    const recovered = await journal.start();
    expect(recovered.open).toEqual([]);
    expect(recovered.unsettled.map(({ key }) => key)).toEqual(["b"]);
    expect(["a", "b", "c"].map((key) => journal.state(key))).toEqual(["settled", "dead", "dead"]);
    expect(journal.reply("a")).toEqual(reply("a", { payload: new Uint8Array(10) }));
  });

  test("forgets settled questions by age over a restart, but not because the clock boots in 1970", async () => {
    let journal = make();
    await journal.start();
    await finish(journal, "a");
    clock.setWall(3_000);
    journal = await restart(journal);
    expect(journal.state("a")).toBe("settled");
    clock.setWall(1_800_000_000_000 + DAY);
    journal = await restart(journal);
    expect(journal.state("a")).toBe("settled");
    clock.setWall(1_800_000_000_000 + 8 * DAY);
    journal = await restart(journal);
    expect(journal.state("a")).toBe("unknown");
  });

  test("keeps the oldest open question first, however often it was carried over", async () => {
    const maxBytes = 128 * 1024;
    let journal = make({ maxBytes });
    await journal.start();
    await journal.accept(question("first"));
    for (let index = 0; index < 200; index++) {
      if (index === 100) await journal.accept(question("second"));
      await finish(journal, `q${index}`, 600);
      if (index % 50 === 0) journal = await restart(journal, { maxBytes });
    }
    await journal.stop();
    const { open } = await make({ maxBytes }).start();
    expect(open.map((entry) => entry.question.key)).toEqual(["first", "second"]);
  });

  test(
    "stays within its bytes, however much passes through and however often it starts",
    { timeout: 60_000 },
    async () => {
      const maxBytes = 128 * 1024;
      let journal = make({ maxBytes });
      await journal.start();
      for (let index = 0; index < 600; index++) {
        await finish(journal, `q${index}`, 1_000);
        if (index % 20 === 0) journal = await restart(journal, { maxBytes });
        expect(await bytesOf(directory)).toBeLessThanOrEqual(maxBytes);
      }
      expect(journal.stats.finished).toBeGreaterThan(90);
      journal = await restart(journal, { maxBytes });
      expect(journal.stats.finished).toBeGreaterThan(90);
      expect(journal.state("q599")).toBe("settled");
    },
  );

  test("refuses questions that would not fit, keeps those it has, and takes new ones once some are settled", async () => {
    const journal = make({ maxBytes: 128 * 1024 });
    await journal.start();
    const large = new Uint8Array(30_000);
    await journal.accept(question("a", { payload: large }));
    await journal.accept(question("b", { payload: large }));
    await expect(journal.accept(question("c", { payload: large }))).rejects.toMatchObject({
      kind: "transient",
      code: "journal_full",
    });
    expect(journal.state("c")).toBe("unknown");
    await journal.answer("a", reply("a"));
    journal.settle("a");
    await journal.accept(question("c", { payload: large }));
    expect(journal.stats).toMatchObject({ unfinished: 2, finished: 1, writable: true });
  });

  test("keeps a question larger than a segment", async () => {
    let journal = make({ maxBytes: 256 * 1024 });
    await journal.start();
    const payload = new Uint8Array(100_000).fill(7);
    await journal.accept(question("large", { payload }));
    await journal.accept(question("small"));
    await journal.stop();
    journal = make({ maxBytes: 256 * 1024 });
    expect((await journal.start()).open.map((entry) => entry.question.payload.length)).toEqual([
      100_000,
      question("small").payload.length,
    ]);
  });

  test("costs at most 3 fdatasync and 16 KiB a question, one after the other", async () => {
    const journal = make({ maxBytes: 8 * 1024 * 1024 });
    await journal.start();
    const before = await bytesToDevice();
    for (let index = 0; index < 2_000; index++) await finish(journal, `q${index}`, 300);
    expect(((await bytesToDevice()) - before) / 2_000).toBeLessThanOrEqual(16 * 1024);
    const { accepted, written } = journal.stats;
    expect(accepted).toBe(2_000);
    expect((written.dataSyncs + written.directorySyncs) / accepted).toBeLessThanOrEqual(2.1);
    expect(written.bytes / accepted).toBeLessThanOrEqual(4096);
  });

  test("writes nothing at idle", async () => {
    for (const durability of ["full", "relaxed"] as const) {
      const disk = new SimDisk();
      const journal = make({ durability, disk });
      await journal.start();
      await finish(journal, "a");
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
      const asked = disk.asked;
      clock.advance(DAY);
      await new Promise((resolve) => setImmediate(resolve));
      expect(disk.asked).toBe(asked);
      expect(clock.pending).toBe(0);
    }
  });

  test("relaxed: a kill loses nothing, a power cut nothing that is older than a second or than the segment", async () => {
    const disk = new SimDisk();
    const options = { durability: "relaxed" as const, maxBytes: 128 * 1024 };
    const journal = make({ ...options, disk });
    await journal.start();
    const payload = new Uint8Array(6_000);
    await journal.accept(question("a", { payload }));
    await journal.accept(question("b", { payload }));
    await journal.accept(question("c", { payload }));
    await journal.accept(question("d", { payload }));
    const keysOf = async (after: SimDisk): Promise<string[]> =>
      (await make({ ...options, disk: after }).start()).open.map((entry) => entry.question.key);
    const lastSecond = disk.powerCuts();
    while (lastSecond.forward());
    expect(await keysOf(lastSecond.cut(0, new Random(1)))).toEqual(["a", "b", "c"]);
    clock.advance(1_000);
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
    await journal.accept(question("e", { payload }));
    const cuts = disk.powerCuts();
    while (cuts.forward());
    expect(await keysOf(cuts.cut(0, new Random(1)))).toEqual(["a", "b", "c", "d"]);
    expect(await keysOf(kill(disk))).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("removes segments one by one, each removal synced before the next", async () => {
    const disk = new SimDisk();
    const options = { disk, maxBytes: 128 * 1024 };
    let journal = make(options);
    await journal.start();
    for (let index = 0; index < 60; index++) await finish(journal, `q${index}`, 1_500);
    const after = kill(disk);
    clock.setWall(1_800_000_000_000 + 30 * DAY);
    journal = make({ ...options, disk: after });
    await journal.start();
    const kinds = after.operations.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === "unlink").length).toBeGreaterThan(4);
    for (const [index, kind] of kinds.entries()) if (kind === "unlink") expect(kinds[index + 1]).toBe("syncDirectory");
  });

  test("refuses a directory another process holds and says which", async () => {
    const journal = make();
    await journal.start();
    const second = make();
    const locked = { kind: "config", code: "journal_locked" };
    await expect(second.start()).rejects.toMatchObject(locked);
    await expect(second.start()).rejects.toThrow(`${directory} is in use by process ${process.pid}`);
    await journal.stop();
    await second.start();
  });

  test("a killed process leaves no lock behind, whatever its pid file says", async () => {
    const holder = `
      import { lockDirectory } from "${join(process.cwd(), "dist/journal/lock.js")}";
      await lockDirectory(process.argv[1]);
      process.kill(process.pid, "SIGKILL");`;
    expect(() => execFileSync(process.execPath, ["--input-type=module", "-e", holder, directory])).toThrow("SIGKILL");
    expect(await readdir(directory)).toEqual(["journal.pid"]);
    await make().start();
  });

  test("refuses what a later version wrote and leaves it untouched", async () => {
    const name = segmentName(3);
    const header = encodeHeader({ version: 2, number: 3, firstSequence: 17, salt: 1 });
    await writeFile(join(directory, name), header);
    const journal = make();
    await expect(journal.start()).rejects.toMatchObject({ kind: "config", code: "journal_newer" });
    expect(await readdir(directory)).toEqual([name]);
    expect(new Uint8Array(await readFile(join(directory, name)))).toEqual(new Uint8Array(header));
  });

  test("makes its directory for its owner only, and says when it cannot", async () => {
    await make({ directory: join(directory, "deep", "journal") }).start();
    expect((await stat(join(directory, "deep", "journal"))).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, "deep", "journal", segmentName(1)))).mode & 0o777).toBe(0o600);
    await writeFile(join(directory, "file"), "");
    const config = { kind: "config", code: "journal_directory" };
    await expect(make({ directory: join(directory, "file") }).start()).rejects.toMatchObject(config);
    // A disk that is full today need not be tomorrow: the service manager shall start the agent again.
    const full = { ...nodeDisk, makeDirectory: () => Promise.reject(diskError("ENOSPC")) };
    await expect(make({ disk: full }).start()).rejects.toMatchObject({ ...config, kind: "transient" });
    expect(() => make({ maxBytes: 1000 })).toThrow("max_bytes is 1000, at least 131072 needed");
  });

  test("passes over files it does not know", async () => {
    await mkdir(join(directory, "journal-1.log"));
    await writeFile(join(directory, "journal-00000001.log.bak"), "x");
    expect(await make().start()).toEqual({ open: [], unsettled: [] });
    expect(logger.lines).toEqual([]);
  });

  test("refuses calls after it has stopped", async () => {
    const journal = make();
    await journal.start();
    await journal.stop();
    await expect(journal.accept(question("a"))).rejects.toMatchObject({ code: "journal_unavailable" });
  });
});

async function bytesOf(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory)) bytes += (await stat(join(directory, name))).size;
  return bytes;
}

/** Whole pages that this process has sent to block devices; none for a directory in memory. */
async function bytesToDevice(): Promise<number> {
  return Number(/write_bytes: (\d+)/.exec(await readFile("/proc/self/io", "utf8"))?.[1]);
}
