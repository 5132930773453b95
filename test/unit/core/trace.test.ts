import { describe, expect, it } from "vitest";
import { parseTrace, replay, summarise, type TraceEntry, traceLine } from "../../../src/core/trace.ts";
import { readingsOf } from "../../fakes/board.ts";

const CURVE = { prefill: { 1: 130, 2: 250 }, decode: { 1: 57, 2: 90 } };
const sample = (atMs: number, foreignCores: number, decode: number): TraceEntry => ({
  readings: readingsOf({ atMs, affinityCores: 2, foreignCores }),
  courtesy: "normal",
  feedback: [],
  threads: { prefill: decode, decode },
  cause: "calm",
  reason: "",
});

describe("a trace", () => {
  it("survives its file: keys in snake case there, the same entries back", () => {
    const feedback = [{ phase: "decode" as const, threads: 2, msPerToken: 11.5, steps: 4 }];
    const entries: TraceEntry[] = [{ curve: CURVE }, { ...sample(250, 0.5, 2), feedback }, { curve: undefined }];
    const text = entries.map((entry) => `${traceLine(entry)}\n`).join("");
    expect(text).toContain('"foreign_cores":0.5');
    expect(text).toContain('"ms_per_token":11.5');
    expect(parseTrace(text)).toEqual(entries);
  });

  it.each(["{", "[1]", "{}", '{"readings":{"at_ms":1},"courtesy":"normal","threads":{"prefill":1,"decode":1}}'])(
    "with the line %s is refused by its number",
    (line) => {
      expect(() => parseTrace(`{"curve":null}\n\n${line}\n`)).toThrow("line 3 is no line of a trace");
    },
  );

  it("is decided anew by the present policy, and differences are counted", () => {
    const calm = Array.from({ length: 8 }, (_, index) => sample(index * 250, 0, 2));
    const busy = Array.from({ length: 8 }, (_, index) => sample(2000 + index * 250, 1, 2));
    const samples = replay([{ curve: CURVE }, ...calm, ...busy]);
    expect(samples.map(({ decision }) => decision.threads.decode).join("")).toBe("2222222211111111");
    expect(summarise(samples)).toEqual({
      samples: 16,
      seconds: 3.75,
      changes: 1,
      mostChangesAMinute: 1,
      secondsAtDecodeThreads: { 1: 1.75, 2: 2 },
      different: 8,
    });
  });
});
