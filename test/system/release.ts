// Releases for the tests: the real one of this tree, built once, and variants of it that fail in one way each. All are
// signed with a key made for this run; the archives are packed without compression, which is another test's business.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { inject } from "vitest";
import { Machine } from "./machine.ts";

const REPO = resolve(import.meta.dirname, "../..");
const ARCH = process.arch === "arm64" ? "arm64" : "x64";
export const MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/** Most of a release by size, and the same in every variant. */
const COMMON = ["bin/node", "app/node_modules"];
/** Every bundle unpacks into `release/`. */
const RENAME = "--transform='s,^[^/]*,release,'";
const TREE = "tree";
const KEY = "key";
const COMMON_ARCHIVE = "common.tar.xz";
const DISK = "disk.img";

export interface Variant {
  version: string;
  /** Changes the unpacked tree before it is signed. */
  change?: (tree: string) => void;
  /** Changes it after it was signed, as an attacker would. */
  tamper?: (tree: string) => void;
}

/** Builds the release of this working tree for all test files of a run; the folder that holds it. */
export function buildRelease(): string {
  const folder = mkdtempSync(join(tmpdir(), "pipit-release-"));
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, KEY)]);
  const args = ["--arch", ARCH, "--version", "1.0.0", "--out", folder, "--key", join(folder, KEY), "--tree"];
  execFileSync(join(REPO, "scripts/build-release.sh"), args, { stdio: ["ignore", "ignore", "inherit"] });
  renameSync(join(folder, `pipit-1.0.0-${ARCH}`), join(folder, TREE));
  // What all variants share, packed once: an archive without its end, which another xz stream continues.
  const parts = COMMON.map((part) => `${TREE}/${part}`).join(" ");
  const pack = `tar -b1 -cf - ${RENAME} ${parts} | head -c -1024 | xz -0 -T2 >${COMMON_ARCHIVE}`;
  execFileSync("sh", ["-c", pack], { cwd: folder });
  return folder;
}

/** Installs the release and the model on a board, whose disk the boards of other test files begin with. */
export async function installRelease(folder: string): Promise<void> {
  const board = new Machine("original", 3);
  try {
    await board.boot();
    board.put(join(folder, TREE), "root/release");
    board.put(modelFile() ?? "", `root/${MODEL_SHA256}.gguf`);
    board.sh("cd /root && release/install.sh </dev/null && rm -rf release *.gguf");
    await board.shutdown();
    renameSync(board.disk, join(folder, DISK));
  } finally {
    await board.destroy();
  }
}

/** Makes variants of the run's release; each test file has a shop of its own. */
export class ReleaseShop {
  readonly folder = mkdtempSync(join(tmpdir(), "pipit-releases-"));
  readonly #shared = inject("releases");

  /** Disk of a board with version 1.0.0 and the model installed. */
  get disk(): string {
    return join(this.#shared, DISK);
  }

  /** The unpacked release of this working tree, version 1.0.0; not to be written to. */
  tree(): string {
    return join(this.#shared, TREE);
  }

  /** A signed tree of its own; `small` leaves out the runtime and the modules, which are most of the bytes. */
  signed({ version, change, tamper }: Variant, small = false): string {
    const tree = join(this.folder, `pipit-${version}`);
    rmSync(tree, { recursive: true, force: true });
    execFileSync("cp", ["-al", this.tree(), tree]);
    if (small) for (const part of COMMON) rmSync(join(tree, part), { recursive: true });
    this.edit(tree, "release.env", (text) => text.replace(/^VERSION=.*/m, `VERSION=${version}`));
    change?.(tree);
    this.#sign(tree);
    tamper?.(tree);
    return tree;
  }

  /** A bundle as `pipitctl update` takes it; its path. */
  bundle(variant: Variant): string {
    const tree = this.signed(variant);
    const own = `tar -cf - ${RENAME} --exclude=${COMMON.join(" --exclude=")} ${basename(tree)}`;
    execFileSync("sh", ["-c", `(cat ${join(this.#shared, COMMON_ARCHIVE)}; ${own} | xz -0) >${tree}.tar.xz`], {
      cwd: this.folder,
    });
    rmSync(tree, { recursive: true });
    return `${tree}.tar.xz`;
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
    execFileSync(
      "ssh-keygen",
      ["-q", "-Y", "sign", "-f", join(this.#shared, KEY), "-n", "pipit-release", join(tree, "MANIFEST")],
      {
        stdio: "ignore",
      },
    );
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
