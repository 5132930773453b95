import fc from "fast-check";
import { expect, test } from "vitest";
import type { OutgoingMessage } from "../../../src/core/message.ts";
import type { AcceptedQuestion } from "../../../src/core/ports.ts";
import { decodeRecord, encodeRecord } from "../../../src/journal/record.ts";
import type { JournalRecord } from "../../../src/journal/record.ts";
import { question } from "../../contract/journal.ts";

const bytes = fc.uint8Array({ maxLength: 40 });
const count = fc.nat();
const key = fc.string({ unit: "grapheme" });
const settled = fc.record({ order: count, wallMs: fc.nat() });

const accepted: fc.Arbitrary<AcceptedQuestion> = fc.record(
  {
    key,
    topic: fc.string(),
    payload: bytes,
    responseTopic: fc.string(),
    correlationData: bytes,
    userProperties: fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.array(fc.string()))),
    acceptedWallMs: fc.nat(),
    deadlineWallMs: fc.nat(),
  },
  { requiredKeys: ["key", "topic", "payload", "acceptedWallMs", "deadlineWallMs"], noNullPrototype: true },
);

const message: fc.Arbitrary<OutgoingMessage> = fc.record(
  {
    topic: fc.string(),
    payload: bytes,
    retain: fc.boolean(),
    correlationData: bytes,
    contentType: fc.string(),
    text: fc.boolean(),
    expirySeconds: fc.nat(),
    userProperties: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
  },
  { requiredKeys: ["topic", "payload"], noNullPrototype: true },
);

const dead = fc.boolean();
const record: fc.Arbitrary<JournalRecord> = fc.oneof(
  fc.record({ type: fc.constant("accepted" as const), order: count, starts: count, question: accepted }),
  fc.record({ type: fc.constant("started" as const), key, starts: count }),
  fc.record({ type: fc.constant("started" as const), key, starts: count, deaths: count }),
  fc.record({ type: fc.constant("answered" as const), order: count, key, dead, reply: message }),
  fc.record({ type: fc.constant("answered" as const), order: count, key, dead, reply: message, settled }),
  fc.record({ type: fc.constant("settled" as const), order: count, key, dead, settled }),
  fc.record({ type: fc.constant("dead" as const), key }),
);

test("gives back every record as it was", () => {
  fc.assert(
    fc.property(record, (original) => {
      expect(decodeRecord(encodeRecord(original))).toEqual(original);
    }),
  );
});

test("believes neither lengths nor types that do not fit", () => {
  const { type, body } = encodeRecord({ type: "accepted", order: 1, starts: 0, question: question("a") });
  const patched = (from: string, to: string): Uint8Array =>
    new Uint8Array(Buffer.from(Buffer.from(body).toString("latin1").replace(from, to), "latin1"));
  expect(decodeRecord({ type, body: patched('"order":1', '"order":"') })).toBeUndefined();
  expect(decodeRecord({ type, body: patched('"starts":0', '"starts":-') })).toBeUndefined();
  expect(decodeRecord({ type, body: patched('"p":2', '"p":9') })).toBeUndefined();
  expect(decodeRecord({ type: 9, body })).toBeUndefined();
  expect(decodeRecord({ type, body: body.subarray(0, body.length - 1) })).toBeUndefined();
  expect(decodeRecord({ type, body: new Uint8Array() })).toBeUndefined();
});
