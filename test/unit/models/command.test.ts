// The `models` command as main.ts calls it.
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { command } from "../../../src/commands/models.ts";
import { writeBertDirectory } from "../../fixtures/bert-directory.ts";
import { temporaryDirectory } from "../../fixtures/temporary-directory.ts";
import { tinyGguf } from "../../fixtures/tiny-gguf.ts";

const MODEL = tinyGguf();
const SHA256 = createHash("sha256").update(MODEL).digest("hex");

async function setUp() {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "tiny.gguf"), MODEL);
  await writeFile(
    join(directory, "models.yaml"),
    `models:
  - { name: tiny, family: llama, file: tiny.gguf, kind: decoder, sha256: ${SHA256}, licence: MIT, context_tokens: 256,
      prompt_style: chat, tasks: [ask], sources: ["file:${directory}/tiny.gguf"] }
  - { name: unvouched, family: llama, file: tiny.gguf, kind: decoder, licence: MIT, context_tokens: 256,
      prompt_style: chat, tasks: [ask], sources: ["file:${directory}/tiny.gguf"] }`,
  );
  return async (args: string[], values: Record<string, string> = {}, json = false, signal?: AbortSignal) => {
    let stdout = "";
    let stderr = "";
    const code = await command.run({
      values: { catalogue: join(directory, "models.yaml"), ...values },
      positionals: args,
      stdout: (text) => (stdout += text),
      stderr: (text) => (stderr += text),
      json,
      signal: signal ?? new AbortController().signal,
      onHangup: () => {},
      env: { PIPIT_MODELS_DIR: join(directory, "store") },
      isTty: false,
    });
    return { code, stdout, stderr };
  };
}

describe("pipit models", () => {
  it("fetches, lists, verifies, tells the path and removes", async () => {
    const models = await setUp();
    expect((await models(["list"])).stdout).toMatch(/^tiny +- /m);
    const fetched = await models(["fetch", "tiny"]);
    expect(fetched).toMatchObject({ code: 0, stdout: expect.stringContaining(`${SHA256}.gguf`) });
    expect(fetched.stderr).toContain("verifying");
    expect((await models([])).stdout).toMatch(/^tiny +here /m);
    expect(await models(["verify"])).toMatchObject({ code: 0, stdout: "tiny: intact\n" });
    const path = (await models(["path", "tiny"])).stdout.trim();
    await writeFile(path, "rubbish");
    expect(await models(["verify", "tiny"])).toMatchObject({
      code: 1,
      stdout: "tiny: corrupt; run: pipit models fetch tiny\n",
    });
    expect((await models(["fetch", "tiny"])).stderr).toContain("damaged");
    expect((await models(["remove", "tiny"])).stdout).toBe("tiny: removed\n");
    expect((await models(["remove", "tiny"])).stdout).toBe("tiny: was not here\n");
  });

  it("prints one JSON document for each verb when asked to", async () => {
    const models = await setUp();
    const json = async (...args: string[]) => JSON.parse((await models(args, {}, true)).stdout) as { models: object[] };
    expect((await json("fetch", "tiny")).models).toEqual([
      expect.objectContaining({ name: "tiny", sha256: SHA256, size_bytes: MODEL.length }),
    ]);
    expect((await json("list")).models).toContainEqual(
      expect.objectContaining({ name: "tiny", state: "intact", context_tokens: 256 }),
    );
    expect(await json("path", "tiny")).toMatchObject({ kind: "decoder", path: expect.stringContaining(SHA256) });
    expect((await json("verify")).models).toEqual([{ name: "tiny", state: "intact", sha256: SHA256 }]);
    expect((await json("remove", "tiny")).models).toEqual([{ name: "tiny", removed: true }]);
  });

  it("stores a model nobody vouched for only with its hash accepted", async () => {
    const models = await setUp();
    await expect(models(["fetch", "unvouched"])).rejects.toMatchObject({ code: "hash_not_accepted" });
    expect((await models(["fetch", "unvouched"], { "accept-hash": SHA256 })).code).toBe(0);
    expect((await models(["list"])).stdout).toMatch(/^unvouched +here /m);
  });

  it("imports a directory under a name of the user's choice", async () => {
    const models = await setUp();
    const directory = join(await temporaryDirectory(), "My-BERT");
    await writeBertDirectory(directory, "bert");
    const { code, stdout, stderr } = await models(["import", directory], { type: "q8_0" });
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^my-bert: stored, .*\.gguf\nits head knows 3 labels: light, heat, other\n$/),
    });
    expect(stderr).toContain("importing");
    expect(JSON.parse((await models(["path", "my-bert"], {}, true)).stdout)).toMatchObject({ kind: "encoder" });
    expect((await models(["import", directory], { type: "q4_0" })).stderr).toContain(
      "--type is q4_0, expected f16 or q8_0",
    );
    await expect(models(["import", directory], { name: "tiny" })).rejects.toThrow(/a name of the catalogue/);
    await expect(models(["fetch", "my-bert"])).rejects.toThrow(/nothing to fetch it from/);
  });

  it("says in a sentence that it was interrupted or may not write", async () => {
    const models = await setUp();
    await expect(models(["fetch", "tiny"], {}, false, AbortSignal.abort())).rejects.toMatchObject({
      kind: "transient",
      code: "interrupted",
    });
    const file = join(await temporaryDirectory(), "file");
    await writeFile(file, "");
    await expect(models(["fetch", "tiny"], { dir: join(file, "store") })).rejects.toMatchObject({
      kind: "config",
      message: expect.stringContaining(file),
    });
  });

  it("answers a wrong call with what to write instead", async () => {
    const models = await setUp();
    expect(await models(["fetch"])).toMatchObject({ code: 64, stderr: expect.stringContaining("which model?") });
    expect(await models(["frobnicate"])).toMatchObject({
      code: 64,
      stderr: expect.stringContaining("Usage: pipit models"),
    });
    expect((await models(["fetch", "tiny"], { "accept-hash": "abc" })).code).toBe(64);
    await expect(models(["fetch", "tinny"])).rejects.toThrow(/did you mean tiny\?/);
  });
});
