import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import { readGgufHeader } from "../../../src/models/gguf-header.ts";
import { readClassificationHead } from "../../../src/models/classification-head.ts";
import { importDirectory } from "../../../src/models/import-directory.ts";
import { type ImportType } from "../../../src/models/import-model.ts";
import { resolveModel } from "../../../src/models/resolve-model.ts";
import { SafetensorsFile } from "../../../src/models/safetensors.ts";
import { ModelStore } from "../../../src/models/store.ts";
import { bertReference, referenceTensors, safetensors, writeBertDirectory } from "../../fixtures/bert-directory.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";

async function setUp(kind: "distilbert" | "bert" = "distilbert") {
  const root = await temporaryDirectory();
  const directory = join(root, "hf");
  await writeBertDirectory(directory, kind);
  const store = new ModelStore(join(root, "store"));
  const progress: [number, number][] = [];
  const run = (type?: ImportType, name = "mine") =>
    importDirectory(directory, name, {
      store,
      catalog: new Map(),
      type,
      onProgress: (done, total) => progress.push([done, total]),
    });
  const edit = async (file: string, change: (json: Record<string, unknown>) => void) => {
    const json = JSON.parse(await readFile(join(directory, file), "utf8")) as Record<string, unknown>;
    change(json);
    await writeFile(join(directory, file), JSON.stringify(json));
  };
  return { directory, store, run, edit, progress };
}

describe("an import", () => {
  it("makes a GGUF of the trunk, keeps the head behind it, and registers the name", async () => {
    const { run, store, progress } = await setUp();
    const model = await run();
    const resolved = await resolveModel("mine", { store, catalog: new Map() });
    expect(resolved).toMatchObject({
      kind: "encoder",
      sha256: model.sha256,
      labels: ["light", "heat", "other"],
      contextTokens: 64,
    });
    expect(resolved.header).toMatchObject({
      architecture: "bert",
      layers: 2,
      heads: 4,
      embeddingSize: 64,
      vocabularyTokens: 96,
    });
    expect(resolved.header.metadata.get("bert.pooling_type")).toBe(2);
    expect(Object.keys(resolved.header.bytesByType).sort()).toEqual(["F16", "F32"]);
    const [last] = progress.slice(-1);
    expect(last).toEqual([model.sizeBytes, model.sizeBytes]);
    const head = await readClassificationHead(resolved.path, resolved.header);
    const tensors = new Map(
      referenceTensors((await bertReference()).models.distilbert).map(([name, , data]) => [name, data]),
    );
    expect(head).toMatchObject({ activation: "relu", hiddenSize: 64, link: "softmax" });
    expect(head?.denseWeight).toEqual(tensors.get("pre_classifier.weight"));
    expect(head?.outputBias).toEqual(tensors.get("classifier.bias"));
  });

  it("gives the same bytes every time, from vocab.txt as from tokenizer.json", async () => {
    const { run, directory } = await setUp();
    const first = await run("q8_0", "first");
    expect((await run("q8_0", "second")).sha256).toBe(first.sha256);
    const { vocabulary } = await bertReference();
    await rm(join(directory, "vocab.txt"));
    const vocab = Object.fromEntries(vocabulary.map((token, id) => [token, id]));
    await writeFile(join(directory, "tokenizer.json"), JSON.stringify({ model: { type: "WordPiece", vocab } }));
    expect((await run("q8_0", "third")).sha256).toBe(first.sha256);
  });

  it("of a sentence encoder takes the pooling of its directory and Q8_0", async () => {
    const { run, directory } = await setUp("bert");
    const tensors = referenceTensors((await bertReference()).models.bert).filter(
      ([name]) => !name.startsWith("classifier"),
    );
    await writeFile(join(directory, "model.safetensors"), safetensors(tensors));
    const mean = await readGgufHeader((await run()).path);
    expect(mean.metadata.get("bert.pooling_type")).toBe(1);
    expect(Object.keys(mean.bytesByType).sort()).toEqual(["F32", "Q8_0"]);
    expect(mean.metadata.has("pipit.head.labels")).toBe(false);
    await mkdir(join(directory, "1_Pooling"));
    await writeFile(join(directory, "1_Pooling/config.json"), JSON.stringify({ pooling_mode_cls_token: true }));
    expect((await readGgufHeader((await run()).path)).metadata.get("bert.pooling_type")).toBe(2);
  });

  it("fills a vocabulary that is smaller than the embedding table", async () => {
    const { run, directory } = await setUp();
    const { vocabulary } = await bertReference();
    await writeFile(join(directory, "vocab.txt"), vocabulary.slice(0, 90).join("\n"));
    expect((await readGgufHeader((await run()).path)).vocabularyTokens).toBe(96);
  });
});

describe("what an import takes from the directory", () => {
  const metadata = async (run: ReturnType<typeof setUp>) =>
    (await readGgufHeader((await (await run).run()).path)).metadata;

  it("is the trunk alone of a model that tags words with layers of the same names", async () => {
    const { run, edit, store } = await setUp();
    await edit("config.json", (c) => (c["architectures"] = ["DistilBertForTokenClassification"]));
    expect((await run()).labels).toBeUndefined();
    expect(await resolveModel("mine", { store, catalog: new Map() })).toMatchObject({ labels: undefined });
  });

  it("is the prompt for classification, unless the user gives another", async () => {
    const setup = setUp();
    const { directory, store } = await setup;
    const prompts = { query: "search: ", classification: "classify: " };
    await writeFile(join(directory, "config_sentence_transformers.json"), JSON.stringify({ prompts }));
    expect((await metadata(setup)).get("pipit.text_prefix")).toBe("classify: ");
    expect(await resolveModel("mine", { store, catalog: new Map() })).toMatchObject({ prefix: "classify: " });
    const options = { store, catalog: new Map(), type: undefined, onProgress: () => {} };
    await importDirectory(directory, "e5-small-v2", { ...options, prefix: "" });
    expect(await resolveModel("e5-small-v2", { store, catalog: new Map() })).toMatchObject({ prefix: undefined });
  });

  it("is no prompt of a search; E5, whose files tell of none, is known by its name", async () => {
    const { directory, run, store } = await setUp();
    await writeFile(join(directory, "config_sentence_transformers.json"), '{"prompts": {"query": "search: "}}');
    await run();
    expect(await resolveModel("mine", { store, catalog: new Map() })).toMatchObject({ prefix: undefined });
    await run(undefined, "intfloat-e5-base-v2");
    expect(await resolveModel("intfloat-e5-base-v2", { store, catalog: new Map() })).toMatchObject({
      prefix: "query: ",
    });
  });

  it("is the last of equal tokens, as in the reference: llama.cpp ends its process over two", async () => {
    const setup = setUp();
    const { directory } = await setup;
    const { vocabulary } = await bertReference();
    await writeFile(join(directory, "vocab.txt"), [...vocabulary.slice(0, 94), "turn", "turn"].join("\n"));
    expect((await metadata(setup)).get("general.architecture")).toBe("bert");
  });

  it("is a cased vocabulary, and whether Chinese characters are words", async () => {
    const setup = setUp();
    const { directory } = await setup;
    const rules = { type: "BertNormalizer", lowercase: false, strip_accents: null, handle_chinese_chars: false };
    await writeFile(join(directory, "tokenizer.json"), JSON.stringify({ normalizer: rules }));
    const found = await metadata(setup);
    expect(found.get("tokenizer.ggml.normalizer.lowercase")).toBe(false);
    expect(found.get("tokenizer.ggml.normalizer.strip_accents")).toBe(false);
    expect(found.get("tokenizer.ggml.normalizer.handle_chinese_chars")).toBe(false);
  });
});

describe("an import is refused, with the file and the fault named and nothing left behind,", () => {
  type Setup = Awaited<ReturnType<typeof setUp>>;
  const spoilt =
    (spoil: Parameters<typeof safetensors>[1]) =>
    async ({ directory }: Setup) => {
      const tensors = referenceTensors((await bertReference()).models.distilbert);
      await writeFile(join(directory, "model.safetensors"), safetensors(tensors, spoil));
    };
  const NORM = "distilbert.embeddings.LayerNorm.bias";
  const WORDS = "distilbert.embeddings.word_embeddings.weight";
  const cases: [string, (setup: Setup) => Promise<unknown>, RegExp][] = [
    ["when there is no config.json", ({ directory }) => rm(join(directory, "config.json")), /has no config\.json/],
    [
      "when config.json is not JSON",
      ({ directory }) => writeFile(join(directory, "config.json"), "{"),
      /config\.json: is not JSON/,
    ],
    [
      "for another architecture",
      ({ edit }) => edit("config.json", (c) => (c["model_type"] = "mpnet")),
      /model_type is "mpnet", expected bert or distilbert/,
    ],
    [
      "for another activation",
      ({ edit }) => edit("config.json", (c) => (c["activation"] = "relu")),
      /activation is "relu", expected gelu/,
    ],
    [
      "for absurd sizes",
      ({ edit }) => edit("config.json", (c) => (c["n_layers"] = 1e9)),
      /n_layers is 1000000000, expected a whole number from 1 to 128/,
    ],
    ["for sizes of the wrong type", ({ edit }) => edit("config.json", (c) => (c["dim"] = "64")), /dim is "64"/],
    [
      "when heads do not divide",
      ({ edit }) => edit("config.json", (c) => (c["n_heads"] = 5)),
      /do not divide among 5 heads/,
    ],
    [
      "for a head of one number",
      ({ edit }) => edit("config.json", (c) => (c["problem_type"] = "regression")),
      /a regression or a ranking/,
    ],
    [
      "when a class has no name",
      ({ edit }) => edit("config.json", (c) => (c["id2label"] = { 0: "" })),
      /id2label\[0\] must be a text/,
    ],
    [
      "when two classes have one name",
      ({ edit }) => edit("config.json", (c) => (c["id2label"] = { 0: "a", 1: "a" })),
      /two classes the same name/,
    ],
    [
      "when it names classes that are not there",
      ({ edit }) => edit("config.json", (c) => (c["id2label"] = { 0: "a", 7: "b" })),
      /has 3 classes, id2label of config\.json names class 7/,
    ],
    [
      "when sentence-transformers would apply another layer",
      ({ directory }) => writeFile(join(directory, "modules.json"), '[{"type": "sentence_transformers.models.Dense"}]'),
      /module of type "sentence_transformers\.models\.Dense"/,
    ],
    [
      "for a pooling that joins two vectors",
      async ({ directory }) => {
        await mkdir(join(directory, "1_Pooling"));
        const both = { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true };
        await writeFile(join(directory, "1_Pooling/config.json"), JSON.stringify(both));
      },
      /asks for the pooling cls_token and mean_tokens/,
    ],
    [
      "for a tokenizer of another kind",
      ({ directory }) => writeFile(join(directory, "tokenizer.json"), '{"normalizer": {"type": "Precompiled"}}'),
      /normalizer of type "Precompiled"/,
    ],
    [
      "when config and tensors differ",
      ({ edit }) => edit("config.json", (c) => (c["hidden_dim"] = 96)),
      /ffn\.lin1\.weight" is \[128, 64\], config\.json asks for \[96, 64\]/,
    ],
    [
      "when a layer is missing",
      ({ edit }) => edit("config.json", (c) => (c["n_layers"] = 3)),
      /has no tensor "transformer\.layer\.2/,
    ],
    [
      "when there are no weights",
      ({ directory }) => rm(join(directory, "model.safetensors")),
      /has no model\.safetensors/,
    ],
    [
      "when there is no vocabulary",
      ({ directory }) => rm(join(directory, "vocab.txt")),
      /neither vocab\.txt nor tokenizer\.json/,
    ],
    [
      "when the vocabulary lacks [CLS]",
      ({ directory }) => writeFile(join(directory, "vocab.txt"), "[PAD]\n[UNK]\n[SEP]\n"),
      /has no token "\[CLS\]"/,
    ],
    [
      "when the vocabulary is too large",
      ({ directory }) => writeFile(join(directory, "vocab.txt"), "a\n".repeat(98)),
      /ids up to 97; the model has room for 96/,
    ],
    ["for an empty weights file", ({ directory }) => writeFile(join(directory, "model.safetensors"), ""), /too short/],
    [
      "for a header beyond the file",
      ({ directory }) => writeFile(join(directory, "model.safetensors"), Buffer.alloc(16, 255)),
      /claims a header of 18446744073709551615 bytes/,
    ],
    [
      "for truncated weights",
      ({ directory }) => truncate(join(directory, "model.safetensors"), 100_000),
      /is truncated/,
    ],
    [
      "for offsets outside the file",
      spoilt((h) => (h[NORM] = { dtype: "F32", shape: [64], data_offsets: [1e9, 1e9 + 256] })),
      /overlap or hole|truncated/,
    ],
    [
      "for overlapping tensors",
      spoilt((h) => (h[NORM] = { dtype: "F32", shape: [64], data_offsets: [100, 356] })),
      /overlap or hole/,
    ],
    [
      "for negative offsets",
      spoilt((h) => (h[NORM] = { dtype: "F32", shape: [64], data_offsets: [-256, 0] })),
      /no sound data_offsets/,
    ],
    [
      "for a shape that is not its size",
      spoilt((h) => (h[NORM] = { ...h[NORM]!, shape: [65] })),
      /takes 260 bytes, data_offsets give 256/,
    ],
    ["for an overflowing shape", spoilt((h) => (h[NORM] = { ...h[NORM]!, shape: [2 ** 40, 2 ** 40] })), /takes/],
    [
      "for a dtype that holds no weights",
      spoilt((h) => (h[WORDS] = { ...h[WORDS]!, dtype: "I32" })),
      /word_embeddings\.weight" is I32; F32, F16 and BF16/,
    ],
    ["for a dtype that does not exist", spoilt((h) => (h[NORM] = { ...h[NORM]!, dtype: "F31" })), /dtype "F31"/],
  ];
  it.each(cases)("%s", async (_, spoil, message) => {
    const setup = await setUp();
    await spoil(setup);
    await expect(setup.run()).rejects.toMatchObject({
      kind: "config",
      code: "bad_model_file",
      message: expect.stringMatching(message),
    });
    expect(await readdir(setup.store.directory)).toEqual([]);
  });

  it("under a name that is none", async () => {
    const { run } = await setUp();
    await expect(run(undefined, "My Model")).rejects.toMatchObject({ code: "bad_model_name" });
  });

  // PIPIT_FUZZ_RUNS=100000 for a long hunt.
  it("for any mutation of the weights' header, by one kind of error only", { timeout: 1_200_000 }, async () => {
    const path = join(await temporaryDirectory(), "m.safetensors");
    const seed = safetensors([
      ["a", [2, 3], new Float32Array(6)],
      ["b", [4], new Float32Array(4)],
    ]);
    const edit = fc.record({
      at: fc.nat(seed.length - 1),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc
          .constantFrom('"', "{", "}", "[", "]", "-", "9", "9999999", "null", "1e99")
          .map((text) => new TextEncoder().encode(text)),
      ),
    });
    const mutation = fc.record({
      edits: fc.array(edit, { minLength: 1, maxLength: 4 }),
      cut: fc.option(fc.nat(seed.length)),
    });
    await fc.assert(
      fc.asyncProperty(mutation, async ({ edits, cut }) => {
        const bytes = Buffer.from(seed);
        for (const { at, bytes: patch } of edits) bytes.set(patch.subarray(0, bytes.length - at), at);
        const whole = cut === null ? bytes : bytes.subarray(0, cut);
        await writeFile(path, whole);
        try {
          const file = await SafetensorsFile.open(path);
          const total = [...file.tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
          await file.close();
          expect(total).toBeLessThan(whole.length);
        } catch (error) {
          expect(error).toBeInstanceOf(PipitError);
        }
      }),
      { numRuns: Number(process.env["PIPIT_FUZZ_RUNS"] ?? 1_000) },
    );
  });
});
