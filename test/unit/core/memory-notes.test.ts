import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { barFromNotes, withBar } from "../../../src/core/memory-notes.ts";
import { FileMemoryNotes } from "../../../src/device/memory-notes-store.ts";
import { FakeLogger } from "../../fakes/logger.ts";

const EMPTY = { corrections: {}, bars: {} };
const RUNGS = ["large", "small"];
const BAR = { above: 1, untilMs: 1_800_000, holdMs: 1_800_000 };

describe("a kill by the kernel", () => {
  const notes = withBar(EMPTY, "decoder", RUNGS, BAR, 0, 1_000_000);

  it("is known in the next life of the daemon, for the time that is left", () => {
    expect(barFromNotes(notes, "decoder", RUNGS, 500, 1_600_000)).toEqual({ ...BAR, untilMs: 1_200_500 });
    expect(barFromNotes(notes, "decoder", RUNGS, 500, 2_900_000)).toBeUndefined();
  });

  it("is not held longer by a clock that was set back, nor against another ladder", () => {
    expect(barFromNotes(notes, "decoder", RUNGS, 0, 0)?.untilMs).toBe(BAR.holdMs);
    expect(barFromNotes(notes, "decoder", ["other"], 0, 1_000_000)).toBeUndefined();
    expect(barFromNotes(notes, "encoder", RUNGS, 0, 1_000_000)).toBeUndefined();
  });
});

describe("the file of notes", () => {
  let directory: string;
  beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "pipit-notes-"))));
  afterEach(() => rmSync(directory, { recursive: true }));
  const store = () => new FileMemoryNotes(join(directory, "state", "memory.json"), new FakeLogger());

  it("gives back what was written", () => {
    const notes = withBar({ ...EMPTY, corrections: { ab: -7 } }, "decoder", RUNGS, BAR, 0, 0);
    store().write(notes);
    expect(store().read()).toEqual(notes);
  });

  it.each(["", "null", "[]", '{"corrections": {"a": "x"}, "bars": {"decoder": {"bar": {}}}}'])(
    "that is damaged (%j) is no notes",
    (text) => {
      store().write(EMPTY);
      writeFileSync(join(directory, "state", "memory.json"), text);
      expect(store().read()).toEqual(EMPTY);
    },
  );

  it("is no reason to stop where it cannot be written", () => {
    writeFileSync(join(directory, "state"), "a file in the place of the folder");
    expect(() => store().write(EMPTY)).not.toThrow();
    expect(readFileSync(join(directory, "state"), "utf8")).toContain("a file");
  });
});
