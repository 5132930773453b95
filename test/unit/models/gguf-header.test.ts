import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PipitError } from "../../../src/core/errors.ts";
import { readGgufHeader } from "../../../src/models/gguf-header.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";
import {
  kvText,
  kvTexts,
  kvU32,
  kvU32s,
  LLAMA_METADATA,
  TINY_TENSORS,
  type TinyGguf,
  tinyGguf,
  u32,
  u64,
} from "../../fixtures/tiny-gguf.ts";

async function read(bytes: Buffer) {
  const path = join(await temporaryDirectory(), "model.gguf");
  await writeFile(path, bytes);
  return await readGgufHeader(path);
}

const replaced = (key: string, value: Buffer): [string, Buffer][] =>
  LLAMA_METADATA.map(([name, old]) => [name, name === key ? value : old]);

describe("a sound GGUF file", () => {
  it("tells what the governor plans memory from", async () => {
    const header = await read(tinyGguf());
    expect(header).toMatchObject({
      architecture: "llama",
      name: "Tiny",
      fileType: 7,
      contextTokens: 256,
      layers: 2,
      embeddingSize: 64,
      heads: 4,
      kvHeadsByLayer: [2, 2],
      keyLength: 16,
      valueLength: 16,
      vocabularyTokens: 3,
      hasChatTemplate: true,
      bytesByType: { Q8_0: 204, F32: 256 },
      tensorBytes: 460,
    });
  });

  it("may give key-value heads layer by layer, as hybrid models do", async () => {
    const header = await read(tinyGguf({ metadata: replaced("llama.attention.head_count_kv", kvU32s([0, 4])) }));
    expect(header.kvHeadsByLayer).toEqual([0, 4]);
  });

  it("may hold token tables far larger than the read buffer", async () => {
    const tokens = Array.from({ length: 100_000 }, (_, i) => `token ${i}`);
    const long = "x".repeat(1_000_000);
    const metadata = [
      ...replaced("tokenizer.ggml.tokens", kvTexts(tokens)),
      ["note", kvText(long)] as [string, Buffer],
    ];
    const header = await read(tinyGguf({ metadata }));
    expect(header.vocabularyTokens).toBe(100_000);
    expect(header.metadata.get("note")).toBe(long);
    expect(header.tensors.map((tensor) => tensor.name)).toEqual(TINY_TENSORS.map((tensor) => tensor.name));
  });
});

describe("a broken or hostile GGUF file is refused with its fault", () => {
  const [first, second] = TINY_TENSORS as [(typeof TINY_TENSORS)[0], (typeof TINY_TENSORS)[0]];
  const cases: [string, TinyGguf, RegExp][] = [
    ["of another kind", { magic: "PK\u0003\u0004" }, /is not a GGUF file/],
    ["of version 1", { version: 1 }, /GGUF version 1; versions 2 and 3/],
    ["big-endian", { version: 0x03000000 }, /little-endian/],
    ["that claims 2^60 tensors", { tensorCount: 2n ** 60n }, /tensor count is 1152921504606846976, more than 65536/],
    ["that claims 2^63 keys", { keyCount: 2n ** 63n }, /metadata count is/],
    [
      "with a string longer than the file",
      { metadata: [["a", Buffer.concat([u32(8), u64(2n ** 40n)])]] },
      /length of "a"/,
    ],
    [
      "with an array longer than the file",
      { metadata: [["a", Buffer.concat([u32(9), u32(4), u64(2n ** 62n)])]] },
      /length of "a"/,
    ],
    ["with an array of arrays", { metadata: [["a", Buffer.concat([u32(9), u32(9), u64(1)])]] }, /value type 9/],
    ["with an unknown value type", { metadata: [["a", u32(77)]] }, /value type 77/],
    [
      "with a key twice",
      { metadata: [...LLAMA_METADATA, ["general.name", kvText("Twin")]] },
      /a second "general.name"/,
    ],
    ["without architecture", { metadata: LLAMA_METADATA.slice(1) }, /does not name its architecture/],
    [
      "with an absurd layer count",
      { metadata: replaced("llama.block_count", kvU32(4_000_000)) },
      /block_count is 4000000/,
    ],
    [
      "with a text where a size belongs",
      { metadata: replaced("llama.context_length", kvText("many")) },
      /context_length is/,
    ],
    ["with alignment 0", { metadata: [...LLAMA_METADATA, ["general.alignment", kvU32(0)]] }, /general.alignment is 0/],
    ["with a tensor outside the file", { tensors: [{ ...first, shape: [64, 2 ** 40] }] }, /would take/],
    [
      "with overflowing dimensions",
      { tensors: [{ ...first, shape: [2 ** 52, 2 ** 52, 2 ** 52, 2 ** 52] }] },
      /would take/,
    ],
    ["with overlapping tensors", { tensors: [first, { ...second, offset: 0 }] }, /"output_norm.weight" lies at 0/],
    ["with a gap between tensors", { tensors: [first, { ...second, offset: 256 }] }, /expected 224/],
    ["with a tensor twice", { tensors: [first, { ...second, name: first.name }] }, /two tensors named/],
    ["with an unknown tensor type", { tensors: [{ ...first, type: 4 }] }, /type 4, which is not known/],
    ["with rows that do not fill blocks", { tensors: [{ ...first, shape: [65, 3] }] }, /rows of 65 weights/],
    ["with five dimensions", { tensors: [{ ...first, shape: [1, 1, 1, 1, 1] }] }, /5 dimensions/],
  ];
  it.each(cases)("%s", async (_, parts, message) => {
    const error = await read(tinyGguf(parts)).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PipitError);
    expect(error).toMatchObject({ kind: "config", code: "bad_model_file", message: expect.stringMatching(message) });
  });

  it("cut at any byte", async () => {
    const whole = tinyGguf();
    const path = join(await temporaryDirectory(), "model.gguf");
    const lastTensorEnd = whole.length; // the fixture pads after the last tensor to 32 bytes: 256 needs none
    for (let end = 0; end < lastTensorEnd; end += 7) {
      await writeFile(path, whole.subarray(0, end));
      await expect(readGgufHeader(path), `cut at ${end}`).rejects.toMatchObject({ code: "bad_model_file" });
    }
  });

  // PIPIT_FUZZ_RUNS=100000 for a long hunt.
  it("mutated at random, never by another error, a hang or a great allocation", { timeout: 600_000 }, async () => {
    const path = join(await temporaryDirectory(), "model.gguf");
    const seed = tinyGguf();
    const edit = fc.record({
      at: fc.nat(seed.length - 1),
      bytes: fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 8 }), fc.constant(new Uint8Array(8).fill(255))),
    });
    const mutation = fc.record({
      edits: fc.array(edit, { minLength: 1, maxLength: 4 }),
      cut: fc.option(fc.nat(seed.length)),
    });
    await fc.assert(
      fc.asyncProperty(mutation, async ({ edits, cut }) => {
        const bytes = Buffer.from(seed);
        for (const { at, bytes: patch } of edits) bytes.set(patch.subarray(0, bytes.length - at), at);
        await writeFile(path, cut === null ? bytes : bytes.subarray(0, cut));
        try {
          const header = await readGgufHeader(path);
          for (const tensor of header.tensors) {
            expect(tensor.offsetBytes + tensor.sizeBytes).toBeLessThanOrEqual(header.fileBytes);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(PipitError);
        }
      }),
      { numRuns: Number(process.env["PIPIT_FUZZ_RUNS"] ?? 1_000) },
    );
  });
});
