// Model files from anywhere: what the readers take is within the file, everything else is refused as a bad model file.
import { writeFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readGgufHeader } from "../../src/models/gguf-header.ts";
import { SafetensorsFile } from "../../src/models/safetensors.ts";
import { safetensors } from "../fixtures/bert-directory.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";
import { kvText, kvTexts, kvU32, kvU32s, LLAMA_METADATA, tinyGguf } from "../fixtures/tiny-gguf.ts";
import { fuzz, outcomeOf, TIMEOUT_MS } from "./fuzz.ts";
import { mutated, pick } from "./mutate.ts";

const SIDE = 8;

/** A file for each input under way. */
async function files(): Promise<{ take: () => string; give: (path: string) => void }> {
  const directory = await temporaryDirectory();
  const free = Array.from({ length: SIDE }, (_, index) => join(directory, `${index}`));
  return { take: () => free.pop() ?? join(directory, "more"), give: (path) => void free.push(path) };
}

const BERT: [string, Buffer][] = [
  ["general.architecture", kvText("bert")],
  ["general.alignment", kvU32(64)],
  ["bert.context_length", kvU32(128)],
  ["tokenizer.ggml.tokens", kvTexts(["[CLS]", "a"])],
  ["tokenizer.ggml.token_type", kvU32s([3, 1])],
  ["classifier.labels", kvTexts(["no", "yes"])],
];
const GGUF = [
  tinyGguf(),
  tinyGguf({ metadata: BERT, alignment: 64 }),
  tinyGguf({ version: 2, metadata: LLAMA_METADATA.slice(0, 4), tensors: [] }),
  tinyGguf({ tensors: [{ name: "a", shape: [32, 2, 3], type: 2, bytes: 108 }] }),
];

test("the GGUF reader", { timeout: TIMEOUT_MS }, async () => {
  const { take, give } = await files();
  await fuzz({
    name: "the GGUF reader",
    side: SIDE,
    make: (random) => mutated(random, GGUF),
    async run(bytes) {
      const path = take();
      writeFileSync(path, bytes);
      const outcome = await outcomeOf("config", async () => {
        const { tensors } = await readGgufHeader(path);
        for (const { shape } of tensors) expect(shape.every(Number.isSafeInteger)).toBe(true);
      });
      give(path);
      return outcome;
    },
  });
});

const TENSORS: [string, number[], Float32Array][] = [
  ["embeddings.weight", [4, 3], new Float32Array(12).fill(0.5)],
  ["norm.bias", [3], new Float32Array(3)],
];
const SOUND = [
  safetensors(TENSORS),
  safetensors([]),
  safetensors(TENSORS, (header) => Object.assign(header, { __metadata__: { format: "pt" } })),
];
const SPOILT = ["dtype", "shape", "data_offsets"] as const;
const VALUES: unknown[] = [
  null,
  "F16",
  "__proto__",
  [],
  [0],
  [2 ** 53],
  [-1],
  [1.5],
  [1e308, 1e308],
  [0, 48, 48],
  [48, 0],
  {},
  [1, 1, 1, 1, 1, 1, 1, 1, 1],
  "x".repeat(10_000),
];

test("the safetensors reader", { timeout: TIMEOUT_MS }, async () => {
  const { take, give } = await files();
  await fuzz({
    name: "the safetensors reader",
    side: SIDE,
    make(random) {
      if (random.chance(0.6)) return mutated(random, SOUND);
      return safetensors(TENSORS, (header) => {
        const entry = header[pick(random, Object.keys(header))] as Record<string, unknown>;
        for (let wounds = 1 + random.below(2); wounds > 0; wounds--) entry[pick(random, SPOILT)] = pick(random, VALUES);
      });
    },
    async run(bytes) {
      const path = take();
      writeFileSync(path, bytes);
      const outcome = await outcomeOf("config", async () => {
        const file = await SafetensorsFile.open(path);
        try {
          const { size } = await stat(path);
          for (const [name, tensor] of file.tensors) {
            expect(tensor.offsetBytes + tensor.sizeBytes).toBeLessThanOrEqual(size);
            for await (const piece of file.read(name)) expect(piece.length).toBeGreaterThan(0);
          }
        } finally {
          await file.close();
        }
      });
      give(path);
      return outcome;
    },
  });
});
