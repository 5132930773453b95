// Journals that were damaged, or written by somebody who wants them to be believed (the checksums are right then): what is
// read back can be asked again, the rest is named as damage, nothing is thrown.
import { expect, test } from "vitest";
import { messageOfRecord } from "../../src/core/question-record.ts";
import { Book, DEFAULT_RETENTION } from "../../src/journal/book.ts";
import { readJournal } from "../../src/journal/reader.ts";
import { encodeRecord, type JournalRecord } from "../../src/journal/record.ts";
import { replay } from "../../src/journal/replay.ts";
import { encodeFrame, encodeHeader, segmentName } from "../../src/journal/segment.ts";
import { readQuestion } from "../../src/work/intake.ts";
import { question, reply } from "../contract/journal.ts";
import { FakeClock } from "../fakes/clock.ts";
import type { Random } from "../fakes/random.ts";
import { SimDisk } from "../fakes/sim-disk.ts";
import { LIMITS, routeOf } from "../fixtures/questions.ts";
import { fuzz, TIMEOUT_MS } from "./fuzz.ts";
import { anyRecord, mutated, pick } from "./mutate.ts";

const SALT = 0x5eed;
const settled = { order: 1, wallMs: 1_800_000_001_000 };
const RECORDS: JournalRecord[] = [
  { type: "accepted", order: 1, starts: 0, question: question("a") },
  { type: "started", key: "a", starts: 1 },
  { type: "answered", order: 1, key: "a", dead: false, reply: reply("a") },
  { type: "settled", order: 1, key: "a", dead: false, settled },
  { type: "accepted", order: 2, starts: 0, question: question("b") },
  { type: "answered", order: 3, key: "c", dead: false, reply: reply("c"), settled: { ...settled, order: 2 } },
  { type: "dead", key: "c" },
];
const FRAMES = RECORDS.map(encodeRecord);
const BODIES = FRAMES.map(({ body }) => body);
const NAMES =
  "key topic order starts dead settled message acceptedWallMs deadlineWallMs responseTopic userProperties p c __proto__ retain text contentType expirySeconds wallMs payload".split(
    " ",
  );

/** The body of a record with another head: right lengths, any content. */
function anyBody(random: Random): Uint8Array {
  const head = Buffer.from(JSON.stringify({ key: "a", topic: "t", order: 1, starts: 0, ...anyRecord(random, NAMES) }));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(head.length);
  return Buffer.concat([size, head, Buffer.from("payload")]);
}

function segment(random: Random, number: number): Uint8Array {
  const first = number === 1 ? 1 : 1 + random.below(9);
  const parts = [encodeHeader({ version: 1, number, firstSequence: first, salt: SALT })];
  for (let index = 0; index < random.below(8); index++) {
    const sound = pick(random, FRAMES);
    const frame = random.chance(0.5)
      ? sound
      : { type: random.below(8), body: random.chance(0.5) ? mutated(random, BODIES) : anyBody(random) };
    parts.push(encodeFrame(frame, first + index, SALT));
  }
  const bytes = Buffer.concat([...parts, Buffer.alloc(random.below(100))]);
  return random.chance(0.5) ? bytes : mutated(random, [bytes]);
}

test("the journal reader", { timeout: TIMEOUT_MS }, async () => {
  const clock = new FakeClock();
  await fuzz({
    name: "the journal reader",
    make: (random) => Array.from({ length: 1 + random.below(2) }, (_, index) => segment(random, index + 1)),
    async run(segments) {
      const book = new Book(DEFAULT_RETENTION);
      const disk = new SimDisk(new Map(segments.map((bytes, index) => [segmentName(index + 1), bytes])));
      const reading = await readJournal(disk, "", (record, place) => replay(book, record, place.segment, clock));
      book.restored(clock.nowMs());
      const { open, unsettled } = book.recovered();
      for (const { question: asked } of open) {
        const again = messageOfRecord(asked, clock.nowMs(), clock.wallMs());
        const intake = readQuestion(again, routeOf({ filter: "#" }), { limits: LIMITS, makeId: () => "made" });
        expect(intake.question ?? intake.error).toBeDefined();
      }
      for (const { reply: kept } of unsettled)
        expect([typeof kept.topic, kept.payload instanceof Uint8Array]).toEqual(["string", true]);
      return reading.segments.some(({ damage }) => damage.length > 0) ? "damaged" : "sound";
    },
    show: (segments) => segments.map((bytes) => Buffer.from(bytes).toString("hex")).join("\n"),
  });
});
