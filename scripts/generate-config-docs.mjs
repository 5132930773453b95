// Writes docs/config.md and config/default.yaml from the schema as built in dist; with --check only compares them and
// exits 1 when one has drifted.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { exampleYaml, referenceMarkdown } from "../dist/config/reference.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const papers = { "docs/config.md": referenceMarkdown(), "config/default.yaml": exampleYaml() };
const check = process.argv.includes("--check");

for (const [name, wanted] of Object.entries(papers)) {
  const file = join(root, name);
  if (!check) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, wanted);
  } else if (read(file) !== wanted) {
    process.stderr.write(`${name} is not what the schema says: run node scripts/generate-config-docs.mjs\n`);
    process.exitCode = 1;
  }
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
