// Bit flips and truncation at every byte of a small journal of two segments, and bytes that were never a journal.
// PIPIT_FUZZ_RUNS sets how many inputs are tried.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FileJournal } from "../../../src/journal/file-journal.ts";
import { readJournal } from "../../../src/journal/reader.ts";
import type { JournalReading } from "../../../src/journal/reader.ts";
import { encodeRecord } from "../../../src/journal/record.ts";
import type { JournalRecord } from "../../../src/journal/record.ts";
import { FRAME_BYTES, HEADER_BYTES, encodeFrame, encodeHeader, segmentName } from "../../../src/journal/segment.ts";
import { question, reply } from "../../contract/journal.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeLogger } from "../../fakes/logger.ts";
import { SimDisk } from "../../fakes/sim-disk.ts";

const FUZZ_RUNS = Number(process.env["PIPIT_FUZZ_RUNS"] ?? 2_000);
const SALT = 0x5eed;

const RECORDS: JournalRecord[][] = [
  [
    { type: "accepted", order: 1, starts: 0, question: question("a") },
    { type: "started", key: "a", starts: 1 },
    { type: "answered", order: 1, key: "a", dead: false, reply: reply("a") },
    { type: "settled", order: 1, key: "a", dead: false, settled: { order: 1, wallMs: 1_800_000_001_000 } },
  ],
  [
    { type: "accepted", order: 2, starts: 0, question: question("b") },
    { type: "answered", order: 3, key: "c", dead: false, reply: reply("c") },
    { type: "dead", key: "c" },
  ],
];

interface Segment {
  bytes: Uint8Array;
  /** The stretch of each record. */
  frames: { start: number; end: number; record: JournalRecord }[];
}

function build(records: JournalRecord[], number: number, firstSequence: number): Segment {
  const parts = [encodeHeader({ version: 1, number, firstSequence, salt: SALT + number })];
  const frames: Segment["frames"] = [];
  let start = HEADER_BYTES;
  for (const [index, record] of records.entries()) {
    const bytes = encodeFrame(encodeRecord(record), firstSequence + index, SALT + number);
    frames.push({ start, end: start + bytes.length, record });
    start += bytes.length;
    parts.push(bytes);
  }
  return { bytes: new Uint8Array(Buffer.concat([...parts, Buffer.alloc(200)])), frames };
}

const SEGMENTS = RECORDS.map((records, index) => build(records, index + 1, index === 0 ? 1 : 5));

interface Outcome {
  records: JournalRecord[];
  reading: JournalReading;
  damage: string[];
}

async function read(segments: Uint8Array[]): Promise<Outcome> {
  const disk = new SimDisk(new Map(segments.map((bytes, index) => [segmentName(index + 1), bytes])));
  const records: JournalRecord[] = [];
  const reading = await readJournal(disk, "", (record) => void records.push(record));
  return { records, reading, damage: reading.segments.flatMap(({ damage }) => damage) };
}

/** The file with its segment `index` changed. */
function changed(index: number, change: (bytes: Uint8Array) => Uint8Array): Uint8Array[] {
  return SEGMENTS.map(({ bytes }, other) => (other === index ? change(bytes.slice()) : bytes));
}

async function opens(segments: Uint8Array[]): Promise<void> {
  const disk = new SimDisk(new Map(segments.map((bytes, index) => [segmentName(index + 1), bytes])));
  const [clock, logger] = [new FakeClock(), new FakeLogger()];
  const options = { directory: "/journal", durability: "full" as const, maxBytes: 131_072, clock, logger, disk };
  const journal = new FileJournal(options);
  await journal.start();
  await journal.accept(question("new"));
  await journal.stop();
  const again = new FileJournal(options);
  expect((await again.start()).open.map((entry) => entry.question.key)).toContain("new");
  await again.stop();
}

const ALL = RECORDS.flat();

describe("a damaged journal", () => {
  test("undamaged, gives back every record", async () => {
    const { records, damage } = await read(SEGMENTS.map(({ bytes }) => bytes));
    expect(records).toEqual(ALL);
    expect(damage).toEqual([]);
  });

  test.each([0, 1])(
    "with any bit flipped in segment %d: loses the record it was in, says so, and no other",
    async (index) => {
      const { bytes, frames } = SEGMENTS[index] as Segment;
      const last = frames.at(-1);
      for (let at = 0; at < bytes.length; at++) {
        for (let bit = 0; bit < 8; bit++) {
          const flipped = changed(index, (copy) => {
            copy[at] = (copy[at] ?? 0) ^ (1 << bit);
            return copy;
          });
          const { records, damage } = await read(flipped);
          const hit = frames.find(({ start, end }) => at >= start && at < end);
          expect(records, `byte ${at}, bit ${bit}`).toEqual(ALL.filter((record) => record !== hit?.record));
          // The last record of the last segment is what a torn write looks like.
          const silent = hit === undefined || (index === 1 && hit === last);
          expect(damage.length > 0, `byte ${at}, bit ${bit}`).toBe(!silent);
        }
      }
    },
  );

  test.each([0, 1])(
    "cut off at any byte of segment %d: keeps the records before and the other segment",
    async (index) => {
      const { bytes, frames } = SEGMENTS[index] as Segment;
      for (let length = 0; length < bytes.length; length++) {
        const { records, damage } = await read(changed(index, (copy) => copy.subarray(0, length)));
        const lost = frames.filter(({ end }) => end > length || length < HEADER_BYTES / 2).map(({ record }) => record);
        expect(records, `${length} bytes`).toEqual(ALL.filter((record) => !lost.includes(record)));
        if (index === 0 && length > HEADER_BYTES) expect(damage.length > 0, `${length} bytes`).toBe(lost.length > 0);
      }
    },
  );

  test("opens whatever byte was flipped or is the last, and goes on", { timeout: 60_000 }, async () => {
    for (const [index, { bytes }] of SEGMENTS.entries()) {
      for (let at = 0; at < bytes.length; at += 3) {
        await opens(changed(index, (copy) => copy.fill((copy[at] ?? 0) ^ 0x55, at, at + 1)));
        await opens(changed(index, (copy) => copy.subarray(0, at)));
      }
    }
  });

  test("keeps a damaged segment aside when its turn to go has come", async () => {
    const damaged = changed(0, (copy) => copy.fill(0xff, 0, HEADER_BYTES));
    const disk = new SimDisk(new Map(damaged.map((bytes, index) => [segmentName(index + 1), bytes])));
    const [clock, logger] = [new FakeClock(), new FakeLogger()];
    const journal = new FileJournal({ directory: "/j", durability: "full", maxBytes: 131_072, clock, logger, disk });
    await journal.start();
    await journal.stop();
    expect(disk.files().get("damaged-00000001.log")).toEqual(damaged[0]);
    expect(disk.files().has(segmentName(1))).toBe(false);
    expect(logger.lines.map(({ message }) => message)).toContain(
      "journal: damage in journal-00000001.log: its header is unreadable",
    );
  });
});

describe("the reader, given anything", () => {
  const bytes = fc.uint8Array({ maxLength: 600 });
  const header = fc.record({
    version: fc.constantFrom(1, 1, 1, 2, 0xffffffff),
    number: fc.constantFrom(1, 1, 1, 7),
    firstSequence: fc.integer({ min: 0, max: 2 ** 48 - 100 }),
    salt: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  });
  /** Frames that check, with bodies that may hold anything or something near a record. */
  const json = fc.json().map((text) => Buffer.from(text));
  const nearBody = fc.tuple(json, bytes).map(([head, rest]) => {
    const size = Buffer.alloc(4);
    size.writeUInt32BE(head.length);
    return new Uint8Array(Buffer.concat([size, head, rest]));
  });
  const frame = fc.record({ type: fc.integer({ min: 0, max: 8 }), body: fc.oneof(bytes, nearBody) });
  const splice = fc.record({ at: fc.nat(2000), drop: fc.nat(100), insert: fc.uint8Array({ maxLength: 100 }) });

  async function readsAndOpens(segment: Uint8Array): Promise<void> {
    const { records } = await read([segment]);
    for (const record of records) expect(encodeRecord(record).body.length).toBeGreaterThan(FRAME_BYTES);
  }

  test("bytes: does not throw", { timeout: 600_000 }, async () => {
    await fc.assert(fc.asyncProperty(bytes, readsAndOpens), { numRuns: FUZZ_RUNS });
  });

  test("records that check but hold anything: does not throw", { timeout: 600_000 }, async () => {
    const segments = fc.tuple(header, fc.array(frame, { maxLength: 6 })).map(([head, frames]) => {
      const parts = frames.map((each, index) => encodeFrame(each, head.firstSequence + index, head.salt));
      return new Uint8Array(Buffer.concat([encodeHeader(head), ...parts]));
    });
    await fc.assert(fc.asyncProperty(segments, readsAndOpens), { numRuns: FUZZ_RUNS });
  });

  test("a real segment with stretches cut, doubled and overwritten: does not throw", { timeout: 600_000 }, async () => {
    const original = Buffer.from((SEGMENTS[0] as Segment).bytes);
    const spliced = fc.array(splice, { minLength: 1, maxLength: 6 }).map((splices) => {
      let segment = original;
      for (const { at, drop, insert } of splices) {
        const start = at % (segment.length + 1);
        segment = Buffer.concat([segment.subarray(0, start), insert, segment.subarray(start + drop)]);
      }
      return new Uint8Array(segment);
    });
    const property = fc.asyncProperty(spliced, async (segment) => {
      const { records } = await read([segment]);
      // Whatever is read was written: a checksum of 32 bits is not passed by chance in so few tries.
      for (const record of records) expect(RECORDS[0]).toContainEqual(record);
    });
    await fc.assert(property, { numRuns: FUZZ_RUNS });
  });
});
