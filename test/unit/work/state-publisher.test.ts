import { describe, expect, test } from "vitest";
import type { OutgoingMessage } from "../../../src/core/message.ts";
import { StatePublisher } from "../../../src/work/state-publisher.ts";
import { FakeClock } from "../../fakes/clock.ts";

function publishing(publish?: () => Promise<void>) {
  const [clock, published] = [new FakeClock(), [] as OutgoingMessage[]];
  const send = (message: OutgoingMessage) => (published.push(message), publish?.() ?? Promise.resolve());
  const options = { topic: "pipit/board/state", intervalMs: 30_000, describe: () => ({ n: published.length }) };
  return { clock, published, state: new StatePublisher({ ...options, publish: send }, clock) };
}

describe("the state topic", () => {
  test("is retained JSON, published at the start and at the interval", () => {
    const { clock, published, state } = publishing();
    state.start();
    expect(published).toMatchObject([{ topic: "pipit/board/state", retain: true, contentType: "application/json" }]);
    clock.advance(90_000);
    expect(published).toHaveLength(4);
  });

  test("tells a change at once, a storm of changes once a second with the last word said", () => {
    const { clock, published, state } = publishing();
    state.start();
    clock.advance(5000);
    for (let ms = 0; ms < 3000; ms += 100) {
      state.changed();
      clock.advance(100);
    }
    // At once, and after each of the three seconds.
    expect(published).toHaveLength(1 + 4);
    clock.advance(1000);
    expect(published).toHaveLength(1 + 4);
  });

  test("goes on when nobody is there to be told", async () => {
    const { clock, published, state } = publishing(() => Promise.reject(new Error("no link")));
    state.start();
    clock.advance(30_000);
    expect(published).toHaveLength(2);
    await Promise.resolve();
  });

  test("says nothing before the start and after the stop", () => {
    const { clock, published, state } = publishing();
    state.changed();
    state.start();
    state.stop();
    state.changed();
    clock.advance(60_000);
    expect(published).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });
});
