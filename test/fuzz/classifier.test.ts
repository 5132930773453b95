// Classifier files nobody would write: a classifier, or a `config` error that says what is wrong.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { readClassifierFile } from "../../src/config/classifier-files.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";
import { fuzz, outcomeOf, TIMEOUT_MS } from "./fuzz.ts";
import { yaml } from "./yaml.ts";

const CLASSIFIER = [
  "question: Which room?\nlabels: [kitchen, { name: hall, description: the corridor }]\nexamples:\n  - text: the stove\n    label: kitchen\nthreshold: 0.4\n",
  "kind: yes_no\nquestion: Is it urgent?\nexamples: { yes: [fire, smoke], no: [hello] }\nout_of_scope: [weather]\nabstain_label: unknown\n",
  "kind: multi\nlabels: [a, b]\nexamples: other.csv\ndecoder_margin: 0.1\nmodel: none\n",
].map((text) => Buffer.from(text));

test("classifier files", { timeout: TIMEOUT_MS }, async () => {
  const names = [
    "name",
    "kind",
    "question",
    "labels",
    "examples",
    "threshold",
    "out_of_scope",
    "abstain_label",
    "model",
    "text",
    "label",
    "__proto__",
  ];
  const file = join(await temporaryDirectory(), "room.yaml");
  await fuzz({
    name: "classifier files",
    part: 1 / 4,
    make: (random) => yaml(random, CLASSIFIER, names),
    run(bytes) {
      writeFileSync(file, bytes);
      return outcomeOf("config", () => readClassifierFile(file));
    },
    show: (bytes) => Buffer.from(bytes).toString(),
  });
});
