import { expect, it } from "vitest";
import { drawing, SweepProgress } from "../../../src/commands/calibrate.ts";
import { bars, timeline } from "../../../src/commands/terminal-plot.ts";

it("draws the card: a bar a thread count, the best one marked, then answers side by side", () => {
  const text = drawing({
    key: { modelSha256: "ab", cpu: "Raspberry Pi 5 x4", library: "3.22.1" },
    model: "tiny",
    measuredAt: "2026-11-24T02:00:00.000Z",
    tookMs: 12_300,
    curve: { prefill: { 1: 93, 2: 174 }, decode: { 1: 33.5, 2: 34, 3: 29 } },
    batching: [
      { sequences: 1, threads: 2, tokensPerSecond: 34 },
      { sequences: 4, threads: 3, tokensPerSecond: 61 },
    ],
  });
  expect(text).toContain("tiny on Raspberry Pi 5 x4, 12 s");
  expect(text).toMatch(/2 threads {2}█{40} 174\.0 tok\/s ← best/);
  expect(text).toMatch(/1 thread {3}█{39} 33\.5 tok\/s ← best/);
  expect(text).toContain("4 answers side by side: 61 tok/s in all, 3 threads");
});

it.each([
  [false, "run 1 of 8: 1 thread, 1 answer\nrun 2 of 8: 2 threads, 4 answers side by side\n"],
  [true, "\r\x1b[Krun 1 of 8: 1 thread, 1 answer\r\x1b[Krun 2 of 8: 2 threads, 4 answers side by side\r\x1b[K"],
])("says which run it is in (a terminal: %s)", (isTty, expected) => {
  let text = "";
  const progress = new SweepProgress(isTty, (more) => (text += more));
  progress.update(0, 8, { threads: 1, sequences: 1 });
  progress.update(1, 8, { threads: 2, sequences: 4 });
  progress.end();
  expect(text).toBe(expected);
});

it("draws nothing as nothing", () => {
  expect(bars([{ label: "a", value: 0 }], 10)).toBe("a   0.0");
  expect(timeline([], 1, 4)).toBe("    ");
});

it("fills columns without a value with the last one", () => {
  expect(
    timeline(
      [
        { atMs: 0, value: 2 },
        { atMs: 100, value: 0 },
      ],
      2,
      4,
    ),
  ).toBe("███ ");
});
