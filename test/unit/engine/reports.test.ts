import { describe, expect, test } from "vitest";
import type { Piece, Step } from "../../../src/core/ports.ts";
import { PieceReports, StepReports } from "../../../src/engine/reports.ts";

const step = (ms: number): Step => ({ phase: "decode", tokens: 1, threads: 2, ms });
const END: Piece = {
  kind: "end",
  finish: "stop",
  usage: { promptTokens: 1, cachedTokens: 0, completionTokens: 3 },
  prefillMs: 1,
  generateMs: 1,
};

describe("reports of the child", () => {
  test("the first step is told at once, quick ones are gathered and none is lost", () => {
    const told: Step[][] = [];
    const reports = new StepReports((steps) => told.push(steps));
    for (let index = 0; index < 5; index += 1) reports.add(step(1 + index));
    reports.flush();
    reports.flush();
    expect(told[0]).toEqual([step(1)]);
    expect(told.flat().map(({ ms }) => ms)).toEqual([1, 2, 3, 4, 5]);
  });

  test("a slow step is told at once, with those that waited", () => {
    const told: Step[][] = [];
    const reports = new StepReports((steps) => told.push(steps));
    for (const ms of [1, 2, 900]) reports.add(step(ms));
    expect(told.flat().at(-1)).toEqual(step(900));
  });

  test("pieces are joined, in order, and all before the end", () => {
    const told: Piece[] = [];
    const reports = new PieceReports((piece) => told.push(piece));
    for (const text of ["The", " capital", " is"]) reports.add({ kind: "text", text });
    reports.add(END);
    expect(told[0]).toEqual({ kind: "text", text: "The" });
    expect(told.at(-1)).toEqual(END);
    expect(told.map((piece) => (piece.kind === "text" ? piece.text : "")).join("")).toBe("The capital is");
  });
});
