import { describe, expect, it } from "vitest";
import { CONTENT_FREE_TEXTS, labelPrefix, labelTurns } from "../../../src/core/label-prompt.ts";

const labels = [{ name: "lights" }, { name: "clock" }];
const examples = [
  { text: "lamp on", label: "lights" },
  { text: "lamp off", label: "lights" },
  { text: "what time is it", label: "clock" },
  { text: "play jazz", label: "media" },
];

describe("labelTurns", () => {
  it("puts everything that never changes before the text", () => {
    const prompt = { labels, examples };
    for (const text of ["dim the lamp", ...CONTENT_FREE_TEXTS]) {
      expect(labelTurns(prompt, text)).toEqual([...labelPrefix(prompt), { role: "user", text }]);
    }
  });

  it("takes one example of each label in turn and leaves out labels nobody asked for", () => {
    const [, ...turns] = labelPrefix({ labels, examples });
    expect(turns.map(({ role, text }) => `${role}: ${text}`)).toEqual([
      "user: lamp on",
      "assistant: lights",
      "user: what time is it",
      "assistant: clock",
      "user: lamp off",
      "assistant: lights",
    ]);
  });

  it("names the labels in the system text, with descriptions where there are any", () => {
    expect(labelPrefix({ labels, examples: [] })[0]?.text).toMatch(/Labels: lights, clock\.$/);
    const described = [{ name: "lights", description: "lamps and brightness" }, { name: "clock" }];
    expect(labelPrefix({ labels: described, examples: [] })[0]?.text).toMatch(
      /Labels:\n- lights: lamps and brightness\n- clock$/,
    );
  });

  it("keeps the user's system text and still names the labels", () => {
    expect(labelPrefix({ system: "You sort mail.", labels, examples: [] })).toEqual([
      { role: "system", text: "You sort mail. Labels: lights, clock." },
    ]);
  });
});
