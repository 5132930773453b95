// The documents say what the program does: links lead somewhere, the configuration of the README is accepted, every command,
// request field and error code is named, and the examples are the files that were run.
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import { REPLY_ERROR_CODES } from "../../src/core/errors.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const read = (name: string) => readFileSync(path.join(ROOT, name), "utf8");
const PAPERS = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(path.join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

/** Fenced blocks of one language. */
function blocksOf(markdown: string, language: string): string[] {
  return [...markdown.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\`$`, "gm"))].map((match) => match[1] ?? "");
}

/** The anchors that headings have on the usual forges. */
function anchorsOf(markdown: string): string[] {
  const headings = [...markdown.matchAll(/^#+ (.+)$/gm)].map((match) => match[1] ?? "");
  return headings.map((text) =>
    text
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

describe.each(PAPERS)("%s", (name) => {
  test("has no link that leads nowhere", () => {
    const links = [...read(name).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "");
    const dead = links
      .filter((link) => !/^\w+:/.test(link))
      .filter((link) => {
        const [file = "", anchor] = link.split("#");
        const target = file === "" ? name : path.join(path.dirname(name), file);
        if (!existsSync(path.join(ROOT, target))) return true;
        return anchor !== undefined && !anchorsOf(read(target)).includes(anchor);
      });
    expect(dead).toEqual([]);
  });
});

describe("README.md", () => {
  const readme = read("README.md");

  test("shows a configuration that is accepted without a warning", () => {
    const directory = mkdtempSync(path.join(tmpdir(), "pipit-papers-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const secret = path.join(directory, "password");
    writeFileSync(secret, "secret\n", { mode: 0o600 });
    const file = path.join(directory, "pipit.yaml");
    const [yaml = ""] = blocksOf(readme, "yaml");
    expect(yaml).toContain("/etc/pipit/broker-password");
    writeFileSync(file, yaml.replace("/etc/pipit/broker-password", secret));
    const { config, warnings } = loadConfig({ env: {}, args: { config: file } });
    expect(warnings).toEqual([]);
    expect(config.routes.map((route) => route.name)).toEqual(["doorbell", "children"]);
  });

  test("lists every command with its summary", async () => {
    const known = [...read("src/main.ts").matchAll(/import\("\.\/(commands\/[\w-]+\.ts)"\)/g)].map((match) => match[1]);
    expect(known.length).toBeGreaterThan(10);
    for (const file of known) {
      const { command } = (await import(path.join(ROOT, "src", file ?? ""))) as {
        command: { name: string; summary: string };
      };
      expect(readme).toContain(`| \`${command.name}\` | ${command.summary} |`);
    }
  });

  test("shows the client as the example that is run", () => {
    const code = read("docs/examples/ask.mjs").replace(/^\/\/.*\n/gm, "");
    expect(blocksOf(readme, "js")[0]?.trim()).toBe(code.trim());
  });

  test("has the figures of docs/figures", () => {
    expect(readme).toMatch(/<!-- figures:.*?-->\n[^]*?<!-- \/figures -->/);
    execFileSync(process.execPath, [path.join(ROOT, "scripts/generate-figures.mjs"), "--check"]);
  });
});

describe("docs/mqtt.md", () => {
  const contract = read("docs/mqtt.md");

  test("names every error code", () => {
    expect(REPLY_ERROR_CODES.filter((code) => !contract.includes(`\`${code}\``))).toEqual([]);
  });

  test("names every field of a request", () => {
    const [, list = ""] = /KNOWN_FIELDS = new Set\(\[([^\]]*)\]/.exec(read("src/core/request.ts")) ?? [];
    const fields = [...list.matchAll(/"(\w+)"/g)].map((match) => match[1] ?? "");
    expect(fields.length).toBeGreaterThan(8);
    expect(fields.filter((field) => !contract.includes(`\`${field}\``))).toEqual([]);
  });

  test("shows JSON that is JSON", () => {
    const lines = blocksOf(contract, "json").flatMap((block) => block.trim().split(/\n(?=\{)/));
    expect(lines.length).toBeGreaterThan(3);
    for (const line of lines) expect(() => JSON.parse(line) as unknown).not.toThrow();
  });
});

test("the Node-RED flow asks by MQTT 5 with a response topic, and every wire leads to a node", () => {
  const nodes = JSON.parse(read("docs/examples/node-red-flow.json")) as {
    id: string;
    type: string;
    protocolVersion?: string;
    topic?: string;
    props?: { p: string; v?: string }[];
    wires?: string[][];
  }[];
  const ids = nodes.map(({ id }) => id);
  expect(nodes.flatMap(({ wires = [] }) => wires.flat()).filter((id) => !ids.includes(id))).toEqual([]);
  const nodeOf = (type: string) => nodes.find((node) => node.type === type);
  expect(nodeOf("mqtt-broker")?.protocolVersion).toBe("5");
  const asked = nodeOf("inject")?.props?.find(({ p }) => p === "responseTopic")?.v;
  expect(asked).toBe(nodeOf("mqtt in")?.topic);
});
