import { describe, expect, it } from "vitest";
import type { FetchProgress } from "../../../src/models/fetch-model.ts";
import { ProgressLine, sizeText } from "../../../src/models/progress.ts";

function recorder(isTty: boolean) {
  const out: string[] = [];
  let now = 0;
  const line = new ProgressLine({ name: "m", isTty, write: (text) => out.push(text), nowMs: () => now });
  const at = (
    ms: number,
    doneBytes: number,
    totalBytes: number | undefined,
    stage: FetchProgress["stage"] = "download",
  ) => {
    now = ms;
    line.update({ stage, part: 1, parts: 1, doneBytes, totalBytes });
  };
  return { out, at, line };
}

describe("progress", () => {
  it("on a terminal shows size, speed and time left in one line", () => {
    const { out, at } = recorder(true);
    at(0, 0, 100e6);
    at(1000, 10e6, 100e6);
    expect(out.at(-1)).toMatch(
      /^\r.*m: downloading \[##\.+\] {2}10 % {2}10\.0 MB of 100\.0 MB {2}10\.0 MB\/s {2}0:09 left$/,
    );
    at(2000, 100e6, 100e6);
    expect(out.at(-2)).toContain("100 %");
    expect(out.at(-1)).toBe("\n");
  });

  it("redraws a terminal no more than ten times a second", () => {
    const { out, at } = recorder(true);
    for (let ms = 0; ms < 1000; ms++) at(ms, ms, 1e6);
    expect(out.length).toBe(10);
  });

  it("elsewhere writes whole lines, few of them, the last always", () => {
    const { out, at } = recorder(false);
    for (let ms = 0; ms <= 20_000; ms += 10) at(ms, ms * 50, 1e6);
    expect(out.every((text) => text.endsWith("\n") && !text.includes("\r"))).toBe(true);
    expect(out.length).toBeLessThanOrEqual(15);
    expect(out.at(-1)).toContain("100 %");
  });

  it("speaks of the speed now, not of the average", () => {
    const { out, at } = recorder(true);
    for (let s = 0; s <= 60; s++) at(s * 1000, s * 10e6, 2e9);
    for (let s = 1; s <= 10; s++) at(60_000 + s * 1000, 600e6 + s * 1e6, 2e9);
    expect(out.at(-1)).toContain("1.0 MB/s");
  });

  it("does without a total", () => {
    const { out, at } = recorder(false);
    at(0, 5e6, undefined);
    expect(out).toEqual(["m: downloading  5.0 MB\n"]);
  });

  it("begins a new line for a new stage", () => {
    const { out, at } = recorder(true);
    at(0, 1, 10);
    at(1, 1, 10, "verify");
    expect(out.slice(1)).toEqual(["\n", expect.stringContaining("verifying")]);
  });

  it.each([
    [999, "999 B"],
    [98_362_432, "98.4 MB"],
    [2_147_023_008, "2.15 GB"],
  ])("writes %d bytes as %s", (bytes, text) => expect(sizeText(bytes)).toBe(text));
});
