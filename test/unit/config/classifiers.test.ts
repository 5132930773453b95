// Classifiers of the configuration, of the folder and of routes, put together.
import { mkdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { classifiersOf } from "../../../src/classification.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { topicsOf } from "../../../src/core/topics.ts";
import { routesOf } from "../../../src/work/routes.ts";
import { tempDirectory } from "./temp.ts";

function setUp() {
  const directory = tempDirectory();
  mkdirSync(`${directory.path}/classifiers`);
  const read = (yaml: string) => {
    const file = directory.write("pipit.yaml", `state: { dir: . }\n${yaml}`);
    const { config } = loadConfig({ file, env: {} });
    return classifiersOf(config, routesOf(topicsOf("pipit", "board"), config));
  };
  return { ...directory, read };
}

describe("classifiers", () => {
  it("stand in the configuration with the keys of a file, examples relative to it", () => {
    const { read, write } = setUp();
    write("door.jsonl", '{"text":"a package","label":"parcel"}\n');
    const yaml = `classify:
  classifiers:
    - { name: door, labels: [parcel, visitor], examples: door.jsonl, out_of_scope: auto, decoder_margin: 0.1 }
    - { name: moods, model: my-distilbert, threshold: 0.6, abstain_label: unsure }
`;
    expect(read(yaml)).toMatchObject([
      {
        ...{ name: "door", kind: "single", scope: "auto", decoderMargin: 0.1 },
        examples: [{ text: "a package", labels: ["parcel"] }],
      },
      { name: "moods", labels: [], examples: [], model: "my-distilbert", threshold: 0.6, abstainLabel: "unsure" },
    ]);
  });

  it("are those of the folder too, and a route with labels is one under its own name", () => {
    const { read, write } = setUp();
    write("classifiers/home.yaml", "labels: [lights]\n");
    const routes = "routes: [{ name: bell, filter: a/b, task: classify, labels: [parcel, visitor] }]";
    expect(read(`classify: { threshold: 0.3 }\n${routes}`).map(({ name, threshold }) => [name, threshold])).toEqual([
      ["home", 0],
      ["bell", 0.3],
    ]);
  });

  it.each([
    ["classify: { classifiers: [{ labels: [a] }] }", /classify\.classifiers\[0\].*name must be/],
    ["classify: { classifiers: [{ name: x, lables: [a] }] }", /has no key lables; did you mean labels\?/],
    ["classify: { classifiers: [{ name: x }] }", /only a `model` may bring its own/],
    ["classify: { classifiers: [{ name: x, labels: [a] }, { name: x, labels: [b] }] }", /repeats item 1: "x"/],
    ["classify: { classifiers: [{ name: home, labels: [a] }] }", /home is in classify\.classifiers and in the folder/],
    ["routes: [{ name: home, filter: a/b, task: classify, labels: [a, b] }]", /route home has labels, and so has/],
    ["routes: [{ filter: a/b, task: classify, classifier: hime }]", /names the classifier hime, there is home/],
  ])("of %s are refused", (yaml, message) => {
    const { read, write } = setUp();
    write("classifiers/home.yaml", "labels: [lights]\n");
    expect(() => read(yaml)).toThrowError(message);
  });
});
