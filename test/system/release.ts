// Releases for the tests: the real one of this tree, built once, and variants of it that fail in one way each. All are
// signed with a key made for this run; the archives are packed without compression, which is another test's business.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";

const REPO = resolve(import.meta.dirname, "../..");
export const MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/** Most of a release by size, and the same in every variant. */
const COMMON = ["bin/node", "app/node_modules"];
/** Every bundle unpacks into `release/`. */
const RENAME = "--transform='s,^[^/]*,release,'";

export interface Variant {
  version: string;
  /** Changes the unpacked tree before it is signed. */
  change?: (tree: string) => void;
  /** Changes it after it was signed, as an attacker would. */
  tamper?: (tree: string) => void;
}

export class ReleaseShop {
  readonly folder = mkdtempSync(join(tmpdir(), "pipit-releases-"));
  readonly #key = join(this.folder, "key");
  #tree: string | undefined;

  constructor() {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", this.#key]);
  }

  /** The unpacked release of this working tree. */
  tree(): string {
    if (this.#tree !== undefined) return this.#tree;
    const arch = process.arch === "arm64" ? "arm64" : "x64";
    const args = ["--arch", arch, "--no-deb", "--fast", "--version", "1.0.0", "--out", this.folder, "--key", this.#key];
    execFileSync(join(REPO, "scripts/build-release.sh"), args, { stdio: ["ignore", "ignore", "inherit"] });
    execFileSync("tar", ["-xJf", `pipit-1.0.0-${arch}.tar.xz`], { cwd: this.folder });
    this.#tree = join(this.folder, `pipit-1.0.0-${arch}`);
    return this.#tree;
  }

  /** A bundle as `pipitctl update` takes it; its path. */
  bundle({ version, change, tamper }: Variant): string {
    const name = `pipit-${version}`;
    const tree = join(this.folder, name);
    rmSync(tree, { recursive: true, force: true });
    execFileSync("cp", ["-al", this.tree(), tree]);
    this.edit(tree, "release.env", (text) => text.replace(/^VERSION=.*/m, `VERSION=${version}`));
    change?.(tree);
    this.#sign(tree);
    tamper?.(tree);
    const file = join(this.folder, `${name}.tar.xz`);
    execFileSync(
      "sh",
      [
        "-c",
        `(cat ${this.#common()}; tar -cf - ${RENAME} --exclude=${COMMON.join(" --exclude=")} ${name} | xz -0) >${file}`,
      ],
      {
        cwd: this.folder,
      },
    );
    rmSync(tree, { recursive: true });
    return file;
  }

  /** What all variants share, packed once: an archive without its end, which another xz stream continues. */
  #common(): string {
    const file = join(this.folder, "common.tar.xz");
    if (existsSync(file)) return file;
    const tree = basename(this.tree());
    const parts = COMMON.map((part) => `${tree}/${part}`).join(" ");
    execFileSync("sh", ["-c", `tar -b1 -cf - ${RENAME} ${parts} | head -c -1024 | xz -0 -T2 >${file}`], {
      cwd: this.folder,
    });
    return file;
  }

  /** Rewrites one file of a tree whose files are hard links. */
  edit(tree: string, path: string, change: (text: string) => string): void {
    const file = join(tree, path);
    const text = change(readFileSync(file, "utf8"));
    rmSync(file);
    writeFileSync(file, text, { mode: path.startsWith("bin/") ? 0o755 : 0o644 });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #sign(tree: string): void {
    for (const file of ["MANIFEST", "MANIFEST.sig"]) rmSync(join(tree, file), { force: true });
    const list = "find . -type f | sort | xargs -d '\\n' sha256sum";
    writeFileSync(join(tree, "../MANIFEST"), execFileSync("sh", ["-c", list], { cwd: tree }));
    cpSync(join(tree, "../MANIFEST"), join(tree, "MANIFEST"));
    execFileSync("ssh-keygen", ["-q", "-Y", "sign", "-f", this.#key, "-n", "pipit-release", join(tree, "MANIFEST")], {
      stdio: "ignore",
    });
  }
}

/** The stored SmolLM2 of this machine; undefined when it was never fetched. */
export function modelFile(): string | undefined {
  const folders = [process.env["PIPIT_MODELS_DIR"], join(homedir(), ".local/share/pipit/models")];
  return folders
    .flatMap((folder) => (folder ? join(folder, `${MODEL_SHA256}.gguf`) : []))
    .find((file) => existsSync(file));
}

/** Adds to a unit of the release. */
export function addToUnit(shop: ReleaseShop, tree: string, lines: string): void {
  shop.edit(tree, "systemd/pipit.service", (text) => text.replace("[Service]\n", `[Service]\n${lines}\n`));
}
