// CycloneDX 1.5 bill of materials of an unpacked release: every package left in node_modules, the Node runtime, and the
// llama.cpp build inside node-llama-cpp. No time stamp and no random serial number: the same tree gives the same file.
import { readdirSync, readFileSync, existsSync } from "node:fs";
import { join } from "node:path";

const [, , tree, lockFile] = process.argv;
const lock = JSON.parse(readFileSync(lockFile, "utf8")).packages;
const release = Object.fromEntries(
  readFileSync(join(tree, "release.env"), "utf8").trim().split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
);

/** Every directory with a package.json that has a name, at any depth of node_modules. */
function packagesUnder(folder, key) {
  if (!existsSync(folder)) return [];
  const found = [];
  for (const entry of readdirSync(folder).sort()) {
    if (entry.startsWith("@")) {
      for (const inner of readdirSync(join(folder, entry)).sort()) found.push(...packageAt(join(folder, entry, inner), `${key}/${entry}/${inner}`));
    } else found.push(...packageAt(join(folder, entry), `${key}/${entry}`));
  }
  return found;
}

function packageAt(folder, key) {
  const nested = packagesUnder(join(folder, "node_modules"), `${key}/node_modules`);
  const file = join(folder, "package.json");
  if (!existsSync(file)) return nested;
  const { name, version, license } = JSON.parse(readFileSync(file, "utf8"));
  if (!name || !version) return nested;
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  const component = { type: "library", "bom-ref": `${purl}#${key}`, name, version, purl };
  const spdx = typeof license === "string" ? license : license?.type;
  if (spdx) component.licenses = [/ (OR|AND) /.test(spdx) ? { expression: spdx } : { license: { id: spdx } }];
  const integrity = lock[key]?.integrity;
  if (integrity?.startsWith("sha512-")) {
    component.hashes = [{ alg: "SHA-512", content: Buffer.from(integrity.slice(7), "base64").toString("hex") }];
  }
  return [component, ...nested];
}

const components = packagesUnder(join(tree, "app/node_modules"), "node_modules");
components.push({ type: "platform", "bom-ref": `node@${release.NODE}`, name: "node", version: release.NODE, licenses: [{ license: { id: "MIT" } }] });
const llama = join(tree, "app/node_modules/node-llama-cpp/llama/binariesGithubRelease.json");
if (existsSync(llama)) {
  const build = JSON.parse(readFileSync(llama, "utf8")).release;
  components.push({ type: "library", "bom-ref": `llama.cpp@${build}`, name: "llama.cpp", version: build, purl: `pkg:github/ggml-org/llama.cpp@${build}`, licenses: [{ license: { id: "MIT" } }] });
}
const app = { type: "application", "bom-ref": `pipit@${release.VERSION}`, name: "pipit", version: release.VERSION, licenses: [{ license: { id: "Apache-2.0" } }] };
const bom = {
  bomFormat: "CycloneDX",
  specVersion: "1.5",
  version: 1,
  metadata: { component: app, properties: [{ name: "pipit:arch", value: release.ARCH }, { name: "pipit:commit", value: release.COMMIT }] },
  components,
};
process.stdout.write(`${JSON.stringify(bom, null, 1)}\n`);
