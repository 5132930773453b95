import { describe, expect, it } from "vitest";
import { type ExamAnswer, type ExamQuestion, gradeExam, readExam } from "../../../src/core/exam.ts";

const capital: ExamQuestion = { task: "answer", text: "Capital of France?", expect: "paris" };
const light: ExamQuestion = { task: "classify", text: "lights on", expect: "light" };
const bar = { minScore: 1, minTokensPerSecond: 0 };

describe("an exam paper", () => {
  it("holds answers by pattern and texts by label, comments and empty lines left out", () => {
    const text = `# golden\n{"text": "Capital of France?", "expect": "paris"}\n\n{"text": "lights on", "label": "light", "labels": ["light", "music"]}\n`;
    expect(readExam(text, "g.jsonl")).toEqual([capital, { ...light, labels: ["light", "music"] }]);
  });

  it.each([
    ["{", "g.jsonl, line 1: not JSON"],
    ['{"expect": "x"}', "line 1: text is missing"],
    ['{"text": "x"}', "line 1: expect (or label) is missing"],
    ['{"task": "sing", "text": "x", "expect": "y"}', "task must be answer or classify, got sing"],
    ['{"text": "x", "expect": "("}', "not a regular expression: ("],
    ["\n", "g.jsonl holds no question"],
  ])("is refused when it is %j", (text, message) => {
    expect(() => readExam(text, "g.jsonl")).toThrow(message);
  });
});

describe("the verdict", () => {
  const grade = (answers: ExamAnswer[], wanted = bar) =>
    gradeExam(
      answers.map((answer, index) => ({ question: index === 0 ? capital : light, answer })),
      wanted,
    );

  it("passes right answers, whatever their case, and tells the median speed and time", () => {
    const answers = [
      { given: "It is PARIS.", completionTokens: 40, generateMs: 1000, totalMs: 1100 },
      { given: "light", totalMs: 100 },
    ];
    expect(grade(answers)).toMatchObject({
      verdict: "passed",
      score: 1,
      tokensPerSecond: 40,
      p50Ms: 1100,
      wrong: [],
      error: undefined,
    });
  });

  it("names the models that wrote the answers", () => {
    expect(grade([{ given: "Paris", model: "small" }, { given: "light" }]).model).toBe("small");
    expect(
      grade([
        { given: "Paris", model: "small" },
        { given: "light", model: "large" },
      ]).model,
    ).toBe("large,small");
    expect(grade([{ given: "Paris" }, { given: "light" }]).model).toBeUndefined();
  });

  it("fails below the score, and says what was answered", () => {
    const result = grade([{ given: "Lyon" }, { given: "light" }]);
    expect(result).toMatchObject({ verdict: "failed", score: 0.5, wrong: [{ expect: "paris", given: "Lyon" }] });
    expect(result.error).toBe('score 0.50, 1 wanted: "Capital of France?" got "Lyon"');
  });

  it("takes a label only whole, and an error or an abstention for a wrong answer", () => {
    expect(grade([{ given: "Paris" }, { given: "lights" }]).score).toBe(0.5);
    expect(grade([{ error: "the model died" }, {}]).wrong.map(({ given }) => given)).toEqual(["the model died", ""]);
  });

  it("fails right answers that come too slowly, and answers of one token say nothing about speed", () => {
    const slow = grade([{ given: "Paris", completionTokens: 10, generateMs: 1000 }], {
      minScore: 1,
      minTokensPerSecond: 20,
    });
    expect(slow.error).toBe("10.0 tokens/s, 20 wanted");
    expect(grade([{ given: "Paris", completionTokens: 1, generateMs: 1 }]).tokensPerSecond).toBeUndefined();
  });
});
