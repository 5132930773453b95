import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readClassifierFile, readClassifierFolder } from "../../../src/config/classifier-files.ts";
import { csvRows } from "../../../src/config/csv.ts";
import { readLabelledFile } from "../../../src/config/labelled-files.ts";

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "pipit-classifiers-"))));
afterEach(() => rmSync(directory, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe("readClassifierFolder", () => {
  it("reads labels, examples in place, and examples in JSONL and CSV files beside it", () => {
    write("more.jsonl", '{"text":"lamp off","label":"lights","split":"examples"}\n\n{"text":"jazz","label":"media"}\n');
    write("more.csv", 'label,text\nmedia,"louder, ""please"""\n');
    write(
      "home.yaml",
      `labels:
  - lights
  - { name: media, description: music and radio }
examples:
  - { text: lamp on, label: lights }
  - more.jsonl
  - more.csv
threshold: 0.4
out_of_scope: auto
abstain_label: unknown
decoder_margin: 0.1
model: all-minilm-l6-v2-q8_0
`,
    );
    write("notes.txt", "not a classifier");
    expect(readClassifierFolder(directory)).toEqual([
      {
        name: "home",
        kind: "single",
        labels: [{ name: "lights" }, { name: "media", description: "music and radio" }],
        examples: [
          { text: "lamp on", labels: ["lights"] },
          { text: "lamp off", labels: ["lights"] },
          { text: "jazz", labels: ["media"] },
          { text: 'louder, "please"', labels: ["media"] },
        ],
        threshold: 0.4,
        scope: "auto",
        abstainLabel: "unknown",
        decoderMargin: 0.1,
        model: "all-minilm-l6-v2-q8_0",
      },
    ]);
  });

  it("needs no labels for a question of yes or no", () => {
    const path = write("angry.yaml", "kind: yes_no\nquestion: the sender complains\nout_of_scope: off\n");
    expect(readClassifierFile(path)).toMatchObject({
      name: "angry",
      labels: [{ name: "yes", description: "the sender complains" }, { name: "no" }],
      scope: "off",
    });
  });

  it("is empty where there is no folder", () => expect(readClassifierFolder(join(directory, "none"))).toEqual([]));

  it("tells every fault of every file at once", () => {
    write("a.yaml", "labels: [x]\ntreshold: 0.5\nkind: two\nexamples: [none.jsonl, 7]\n");
    write("b.yaml", "labels: [x, x]\n");
    write("c.yaml", "labels: [x]\nname: d\n");
    write("d.yaml", "labels: [x]\n");
    write("e.yaml", "- just a list\n");
    const message = thrown(() => readClassifierFolder(directory));
    for (const part of [
      /a\.yaml: has no key treshold; did you mean threshold\?/,
      /a\.yaml: kind must be one of single, multi, yes_no, is "two"/,
      /none\.jsonl: cannot be read \(ENOENT\)/,
      /examples\[1\] must be/,
      /b\.yaml: classifier b: has the label "x" twice/,
      /d\.yaml: there is already a classifier d/,
      /e\.yaml: must hold keys and values/,
    ]) {
      expect(message).toMatch(part);
    }
  });

  it.each([
    ["a foreign label", "labels: [x]\nexamples: [{text: hi, label: y}]\n", /example 1 has the label "y"/],
    [
      "two labels in a classifier of one",
      "labels: [x, y]\nexamples: [{text: hi, labels: [x, y]}]\n",
      /only a classifier of kind multi/,
    ],
    ["a decoder margin above one", "labels: [x]\ndecoder_margin: 5\n", /decoder_margin must be 0 to 1, is 5/],
    ["a label of 10 kB", `labels: [${"x".repeat(10_240)}]\n`, /label "x{40}" has 10240 characters, the most is 200/],
    ["a threshold above one", "labels: [x]\nthreshold: 2\n", /threshold must be 0 to 1, is 2/],
    ["a scope that is no similarity", "labels: [x]\nout_of_scope: maybe\n", /out_of_scope must be auto, off/],
    ["an abstain label among the labels", "labels: [x]\nabstain_label: x\n", /also one of its labels/],
    ["a name that leaves the folder", "labels: [x]\nname: ../x\n", /its name must be/],
    ["no labels", "threshold: 0.5\n", /labels must be a list/],
  ])("refuses %s", (_, text, message) => {
    expect(thrown(() => readClassifierFile(write("bad.yaml", text)))).toMatch(message);
  });
});

describe("readLabelledFile", () => {
  it.each([
    ["bom.jsonl", '\uFEFF{"text":"hi","label":"x"}\r\n'],
    ["bom.csv", '\uFEFF"text","label"\r\n"hi","x"\r\n'],
  ])("reads %s as a spreadsheet writes it", (name, text) => {
    expect(readLabelledFile(write(name, text))).toEqual([{ text: "hi", labels: ["x"] }]);
  });

  it.each([
    ["bad.jsonl", "{oops\n", /line 1 is not JSON/],
    ["bad.jsonl", '{"text":"hi"}\n', /line 1 must be/],
    ["bad.csv", "a,b\n1,2\n", /must name text and label, it is a,b/],
    ["bad.csv", "text,label\nhi,\n", /row 2 lacks a text or a label/],
    ["bad.csv", "text,label\n  ,x\n", /row 2 lacks a text or a label/],
    [
      "bad.csv",
      'text,label\nhi,x\n"never closed,x\nmore,x\n',
      /bad\.csv: the quote that opens in line 3 is not closed/,
    ],
    ["empty.jsonl", "", /empty\.jsonl: has no examples/],
    ["empty.csv", "text,label\n", /empty\.csv: has no examples/],
  ])("says what is wrong in %s", (name, text, message) => {
    expect(thrown(() => readLabelledFile(write(name, text)))).toMatch(message);
  });
});

describe("csvRows", () => {
  it.each([
    [
      "a,b\r\nc,d\r\n",
      [
        ["a", "b"],
        ["c", "d"],
      ],
    ],
    ['"a,""b""",c', [['a,"b"', "c"]]],
    [
      '"two\nlines",x\n\ny,z',
      [
        ["two\nlines", "x"],
        ["y", "z"],
      ],
    ],
    ["", []],
  ])("reads %j", (text, rows) => expect(csvRows(text)).toEqual(rows));
});

function thrown(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toMatchObject({ kind: "config", code: "bad_classifier" });
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}
