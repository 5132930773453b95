import { describe, expect, test } from "vitest";
import { messageOfRecord, recordOf } from "../../../src/core/question-record.ts";
import { parseRequest } from "../../../src/core/request.ts";
import { bytes, LIMITS, messageOf, routeOf } from "../../fixtures/questions.ts";

const WALL_MS = 1_800_000_000_000;
const message = messageOf(
  { text: "a", id: "q", deadline_ms: 30_000 },
  { responseTopic: "r", correlationData: bytes("c"), userProperties: { site: "hall", other: "x" }, expirySeconds: 90 },
);
const question = parseRequest(message, routeOf({ sender: "property:site" }), LIMITS, () => "made");
const record = recordOf(message, question, WALL_MS);

describe("a question in the journal", () => {
  test("keeps who asked, what, and until when", () => {
    expect(record).toEqual({
      key: question.key,
      topic: "pipit/board/ask",
      payload: message.payload,
      responseTopic: "r",
      correlationData: bytes("c"),
      userProperties: { site: "hall" },
      acceptedWallMs: WALL_MS,
      deadlineWallMs: WALL_MS + 30_000,
    });
  });

  test("keeps no user property that tells nothing", () => {
    const asked = parseRequest(message, routeOf(), LIMITS, () => "made");
    expect(recordOf(message, asked, WALL_MS)).not.toHaveProperty("userProperties");
  });

  test("comes back as the same question with the time that is left", () => {
    const again = messageOfRecord(record, 500, WALL_MS + 12_000);
    const asked = parseRequest(again, routeOf(), LIMITS, () => "other");
    expect(asked).toMatchObject({
      id: "q",
      key: question.key,
      replyTopic: "r",
      text: "a",
      correlationData: bytes("c"),
    });
    expect(asked.deadlineMs).toBe(500 + 18_000);
  });

  test("comes back expired when its time is up", () => {
    const again = messageOfRecord(record, 500, WALL_MS + 30_000);
    expect(() => parseRequest(again, routeOf(), LIMITS, () => "other")).toThrow(/deadline had passed/);
  });

  test("is not made older by a clock that went back", () => {
    const again = messageOfRecord(record, 500, WALL_MS - 86_400_000);
    expect(again.expirySeconds).toBe(30);
  });
});
