import fc from "fast-check";
import { expect, test } from "vitest";
import { PartialStream } from "../../../src/work/partial-stream.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { jsonOf } from "../../fixtures/pipeline-agent.ts";

interface Partial {
  seq: number;
  text: string;
  final: boolean;
  atMs: number;
}

function streaming(intervalMs: number) {
  const [clock, sent] = [new FakeClock(), [] as Partial[]];
  const address = { id: "q", replyTopic: "r", correlationData: undefined };
  const stream = new PartialStream(address, intervalMs, clock, (message) => {
    sent.push({ ...(jsonOf(message) as unknown as Partial), atMs: clock.nowMs() });
  });
  return { clock, sent, stream };
}

test("the first piece goes out at once, the next ones together after the interval", () => {
  const { clock, sent, stream } = streaming(100);
  for (const text of ["a", "b", "c"]) {
    stream.push(text);
    clock.advance(20);
  }
  clock.advance(40);
  expect(sent.map(({ text }) => text)).toEqual(["a", "bc"]);
});

test("whatever comes when, the pieces join to the text, count from 0, keep the interval and end with one final", () => {
  const event = fc.record({ text: fc.string({ maxLength: 5 }), waitMs: fc.nat({ max: 250 }) });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), fc.integer({ min: 1, max: 200 }), (events, intervalMs) => {
      const { clock, sent, stream } = streaming(intervalMs);
      for (const { text, waitMs } of events) {
        stream.push(text);
        clock.advance(waitMs);
      }
      stream.end();
      clock.advance(1000);
      expect(sent.map(({ text }) => text).join("")).toBe(events.map(({ text }) => text).join(""));
      expect(sent.map(({ seq }) => seq)).toEqual(sent.map((_, index) => index));
      expect(sent.map(({ final }) => final)).toEqual(sent.map((_, index) => index === sent.length - 1));
      const coalesced = sent.slice(0, -1);
      coalesced.slice(1).forEach(({ atMs }, index) => {
        expect(atMs - (coalesced[index]?.atMs ?? 0)).toBeGreaterThanOrEqual(intervalMs);
      });
      expect(clock.pending).toBe(0);
    }),
  );
});
