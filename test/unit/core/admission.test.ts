import { describe, expect, test } from "vitest";
import { type Admission, admissionFault } from "../../../src/core/admission.ts";

const calm: Admission = { waiting: 0, maxWaiting: 4, startMs: 0, ownMs: 0, leftMs: 1000 };

describe("a question is", () => {
  const admitted: [what: string, more: Partial<Admission>][] = [
    ["taken at rest", {}],
    ["taken while nothing is known of the speed", { waiting: 3 }],
    ["taken when it is just in time", { startMs: 600, ownMs: 400 }],
  ];
  test.each(admitted)("%s", (_, more) => {
    expect(admissionFault({ ...calm, ...more })).toBeUndefined();
  });

  const refused: [what: string, more: Partial<Admission>, message: string, retryAfterMs: number][] = [
    [
      "refused by a full line",
      { waiting: 4, startMs: 2345.6 },
      "4 questions are waiting, the limit is 4; try again in about 2.3 s",
      2346,
    ],
    [
      "refused when it would be late",
      { startMs: 700, ownMs: 400 },
      "an answer would take about 1.1 s, the deadline is in 1.0 s",
      700,
    ],
    [
      "refused when its time is up",
      { leftMs: -5, ownMs: 1 },
      "an answer would take about 0.0 s, the deadline is in 0.0 s",
      0,
    ],
  ];
  test.each(refused)("%s", (_, more, message, retryAfterMs) => {
    expect(admissionFault({ ...calm, ...more })).toMatchObject({ code: "busy", message, retryAfterMs });
  });
});
