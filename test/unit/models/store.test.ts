import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, copyFile, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type CatalogEntry } from "../../../src/models/catalog.ts";
import { resolveModel } from "../../../src/models/resolve-model.ts";
import { modelsDirectory, ModelStore } from "../../../src/models/store.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";
import { kvText, tinyGguf } from "../../fixtures/tiny-gguf.ts";

const hashOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const SOUND = tinyGguf();
const SHA256 = hashOf(SOUND);

function entryOf(sha256: string | undefined): CatalogEntry {
  return {
    name: "tiny",
    family: "llama",
    file: "tiny.gguf",
    kind: "decoder",
    sizeBytes: undefined,
    sha256,
    licence: "MIT",
    contextTokens: 128,
    promptStyle: "plain",
    tasks: ["ask"],
    import: undefined,
    sources: [],
  };
}

async function storeWithModel() {
  const store = new ModelStore(join(await temporaryDirectory(), "models"));
  await store.prepare();
  const incoming = join(store.directory, "incoming");
  await writeFile(incoming, SOUND);
  const path = await store.adopt(incoming, SHA256);
  return { store, path, catalog: new Map([["tiny", entryOf(SHA256)]]) };
}

/** Counts the bytes a call hashes: none when a stamp was enough. */
function counter() {
  let hashed = 0;
  return {
    onProgress: (done: number) => (hashed = done),
    get hashed() {
      return hashed;
    },
  };
}

describe("the model store", () => {
  it("keeps a model under its hash and knows it again without reading it", async () => {
    const { store, path } = await storeWithModel();
    expect(path).toBe(join(store.directory, `${SHA256}.gguf`));
    const count = counter();
    expect(await new ModelStore(store.directory).check(SHA256, count)).toBe("intact");
    expect(count.hashed).toBe(0);
  });

  it("reads a file again when it was touched, and finds a single changed byte", async () => {
    const { store, path } = await storeWithModel();
    const changed = Buffer.from(SOUND);
    changed[changed.length - 1] = 0;
    await writeFile(path, changed);
    expect(await store.check(SHA256)).toBe("corrupt");
  });

  it("reads every byte when asked to verify", async () => {
    const { store } = await storeWithModel();
    const count = counter();
    expect(await store.verify(SHA256, count)).toBe("intact");
    expect(count.hashed).toBe(SOUND.length);
  });

  it("survives the loss and the damage of its index", async () => {
    const { store } = await storeWithModel();
    const index = join(store.directory, "index.json");
    await rm(index);
    expect(await store.check(SHA256)).toBe("intact");
    await writeFile(index, "{ half");
    expect(await store.check(SHA256)).toBe("intact");
    expect(await readdir(store.directory)).toContain("index.json.damaged");
    const count = counter();
    await store.check(SHA256, count);
    expect(count.hashed).toBe(0);
  });

  it("works read-only, by hashing each time", async () => {
    const { store, catalog } = await storeWithModel();
    await rm(join(store.directory, "index.json"));
    await chmod(store.directory, 0o555);
    try {
      expect((await resolveModel("tiny", { store, catalog })).sha256).toBe(SHA256);
    } finally {
      await chmod(store.directory, 0o755);
    }
  });

  it("loses no change when processes write its index at the same time", async () => {
    const { store } = await storeWithModel();
    const script = `
      const { ModelStore } = await import(process.argv[1]);
      const store = new ModelStore(process.argv[2]);
      for (let i = 0; i < 10; i++) await store.setName(process.argv[3] + i, "${SHA256}", "test");`;
    const module = new URL("../../../dist/models/store.js", import.meta.url).href;
    const children = ["a", "b", "c"].map((prefix) =>
      execFile(process.execPath, ["--input-type=module", "-e", script, module, store.directory, prefix]),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, "exit"))[0] as number));
    expect(codes).toEqual([0, 0, 0]);
    expect((await store.localNames()).size).toBe(30);
    expect((await readdir(store.directory)).filter((file) => file.endsWith(".new"))).toEqual([]);
  });

  it("lets a second process wait for the lock, and frees it when its holder is killed", async () => {
    const { store } = await storeWithModel();
    const script = `
      const { ModelStore } = await import(process.argv[1]);
      await new ModelStore(process.argv[2]).locked("fetch tiny", () => new Promise(() => { console.log("held"); setInterval(() => {}, 1e6); }));`;
    const module = new URL("../../../dist/models/store.js", import.meta.url).href;
    const child = execFile(process.execPath, ["--input-type=module", "-e", script, module, store.directory]);
    await once(child.stdout as NodeJS.ReadableStream, "data");
    let waited = false;
    await store.locked("fetch tiny", async () => expect(waited).toBe(true), {
      onWait: () => {
        waited = true;
        child.kill("SIGKILL");
      },
    });
  });

  it("stops waiting for a lock when told to", async () => {
    const { store } = await storeWithModel();
    const stop = new AbortController();
    await store.locked("x", async () => {
      const second = store.locked("x", async () => {}, { signal: stop.signal, onWait: () => stop.abort() });
      await expect(second).rejects.toThrow(/abort/i);
    });
  });

  it("deletes the file, its stamp and the names given to it", async () => {
    const { store } = await storeWithModel();
    await store.setName("alias", SHA256, "test");
    expect(await store.remove(SHA256)).toBe(true);
    expect(await store.remove(SHA256)).toBe(false);
    expect(await readdir(store.directory)).toEqual(["index.json"]);
    expect(JSON.parse(await readFile(join(store.directory, "index.json"), "utf8"))).toEqual({
      version: 1,
      names: {},
      verified: {},
    });
  });

  it("lies where PIPIT_MODELS_DIR says, else with the service, else in the home directory", () => {
    expect(modelsDirectory({ PIPIT_MODELS_DIR: "/srv/models" })).toBe("/srv/models");
    expect(modelsDirectory({ STATE_DIRECTORY: "/var/lib/pipit", HOME: "/" })).toBe("/var/lib/pipit/models");
    expect(modelsDirectory({ HOME: "/home/pi" })).toBe("/home/pi/.local/share/pipit/models");
    expect(() => modelsDirectory({ PIPIT_MODELS_DIR: "models" })).toThrowError(/expected an absolute path/);
  });
});

describe("resolving a model", () => {
  it("by name gives the verified file and what it is", async () => {
    const { store, path, catalog } = await storeWithModel();
    expect(await resolveModel("tiny", { store, catalog })).toMatchObject({
      name: "tiny",
      path,
      sha256: SHA256,
      kind: "decoder",
      contextTokens: 256,
      promptStyle: "plain",
      header: { architecture: "llama" },
    });
  });

  it("never gives a truncated or a changed file", async () => {
    const { store, path, catalog } = await storeWithModel();
    await truncate(path, SOUND.length - 1);
    await expect(resolveModel("tiny", { store, catalog })).rejects.toMatchObject({
      code: "model_corrupt",
      kind: "config",
    });
  });

  it("names the command that helps when it is missing", async () => {
    const { store, catalog } = await storeWithModel();
    await store.remove(SHA256);
    await expect(resolveModel("tiny", { store, catalog })).rejects.toThrow(/run: pipit models fetch tiny/);
  });

  it("suggests the nearest name for one that nobody knows", async () => {
    const { store, catalog } = await storeWithModel();
    await expect(resolveModel("tinny", { store, catalog })).rejects.toThrow(/did you mean tiny\?/);
    await expect(resolveModel("zzz", { store, catalog })).rejects.toThrow(/see: pipit models list/);
  });

  it("refuses a model without any known hash until one was accepted", async () => {
    const { store } = await storeWithModel();
    const catalog = new Map([["tiny", entryOf(undefined)]]);
    await expect(resolveModel("tiny", { store, catalog })).rejects.toMatchObject({ code: "model_missing" });
    await store.setName("tiny", SHA256, "test");
    expect((await resolveModel("tiny", { store, catalog })).sha256).toBe(SHA256);
  });

  it("by path takes the user's file, through links, and hashes it once", async () => {
    const { store, path, catalog } = await storeWithModel();
    const directory = await temporaryDirectory();
    await mkdir(join(directory, "sub"));
    await copyFile(path, join(directory, "sub/Some-Model.gguf"));
    await symlink(join(directory, "sub/Some-Model.gguf"), join(directory, "link.gguf"));
    const model = await resolveModel(join(directory, "sub/Some-Model.gguf"), { store, catalog });
    expect(model).toMatchObject({ name: "some-model", sha256: SHA256, promptStyle: "chat" });
    const count = counter();
    await resolveModel(join(directory, "link.gguf"), { store, catalog, ...count });
    expect(count.hashed).toBe(0);
  });

  it("by path refuses what is no GGUF, a directory, nothing", async () => {
    const { store, catalog } = await storeWithModel();
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "x.gguf"), "hello");
    await expect(resolveModel(join(directory, "x.gguf"), { store, catalog })).rejects.toMatchObject({
      code: "bad_model_file",
    });
    await expect(resolveModel(directory, { store, catalog })).rejects.toMatchObject({ code: "model_missing" });
    await expect(resolveModel("/nonexistent.gguf", { store, catalog })).rejects.toMatchObject({
      code: "model_missing",
    });
  });

  it("tells an encoder by its architecture", async () => {
    const { store, catalog } = await storeWithModel();
    const path = join(await temporaryDirectory(), "bert.gguf");
    await writeFile(path, tinyGguf({ metadata: [["general.architecture", kvText("bert")]] }));
    expect(await resolveModel(path, { store, catalog })).toMatchObject({ kind: "encoder", promptStyle: "none" });
  });
});
