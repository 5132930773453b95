// What is not exactly what was signed. A thousand bits changed at random (in CI two hundred), one at a time: in any file of a
// release, its manifest, its signature, in the packed bundle and in a model file. Every one is refused before anything of it is
// used. PIPIT_TAMPER_SEED repeats a run.
import { execFileSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FULL } from "./level.ts";
import { Machine } from "./machine.ts";
import { whyNoBoards } from "./needs.ts";
import { ReleaseShop } from "./release.ts";

const reason = whyNoBoards();
const SEED = Number(process.env["PIPIT_TAMPER_SEED"] ?? randomInt(2 ** 31));

/** Runs on the board: flips one bit at a random place of what is named, asks for a verdict, mends it, and counts what passed. */
const FLIPPER = `
import json, os, random, subprocess, sys
kind, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
files = {"tree": [os.path.join(d, f) for d, _, fs in os.walk("/root/tree") for f in fs],
         "bundle": ["/root/bundle.tar.xz"], "model": ["/root/model.gguf"]}[kind]
pick = random.Random(seed)
command = {"tree": ["verify", "/root/tree"], "bundle": ["stage", "/root/bundle.tar.xz"],
           "model": ["model", "add", "/root/model.gguf", open("/root/model.sum").read().strip()]}[kind]
accepted, reasons = [], {}
def verdict():
    done = subprocess.run(["pipitctl", *command], capture_output=True, text=True)
    return done.returncode, done.stderr.strip().split("\\n")[-1]
intact = verdict()[0]
for _ in range(count):
    path = pick.choice(files)
    size = os.path.getsize(path)
    place, bit = pick.randrange(size), 1 << pick.randrange(8)
    with open(path, "r+b") as file:
        file.seek(place); byte = file.read(1)[0]
        file.seek(place); file.write(bytes([byte ^ bit]))
    code, said = verdict()
    if code == 0: accepted.append([path, place, bit])
    reason = "signature" if "signature" in said else "changed" if "changed" in said else said.split(":")[1].strip() if ":" in said else said
    reasons[reason] = reasons.get(reason, 0) + 1
    with open(path, "r+b") as file:
        file.seek(place); file.write(bytes([byte]))
print(json.dumps({"intact": intact, "accepted": accepted, "reasons": reasons, "after": verdict()[0],
                  "left": [d for d in ("/opt/pipit/releases/.partial",) if os.path.exists(d)]}))
`;

describe.skipIf(reason !== undefined)(`a changed byte${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const board = new Machine("tamper", 50);
  let shop: ReleaseShop;

  beforeAll(async () => {
    shop = new ReleaseShop();
    await board.boot();
    // Without the runtime and the modules: the same checks on two hundred files instead of four thousand.
    const tree = shop.signed({ version: "1.0.0" }, true);
    writeFileSync(join(shop.folder, "flipper.py"), FLIPPER);
    board.put(tree, "root/tree");
    board.put(pack(tree), "root/bundle.tar.xz");
    board.put(join(shop.folder, "flipper.py"), "root/flipper.py");
    board.sh(
      "mkdir -p /etc/pipit /var/lib/pipit/models && cp /root/tree/allowed_signers /etc/pipit/ && cp /root/tree/bin/pipitctl /usr/local/sbin/ && chmod 755 /usr/local/sbin/pipitctl && useradd -r pipit",
    );
    board.sh(
      "head -c 1000000 /dev/urandom >/root/model.gguf && sha256sum /root/model.gguf | cut -d' ' -f1 >/root/model.sum",
    );
  }, 300_000);

  afterAll(async () => {
    await board.destroy();
    shop.remove();
  }, 60_000);

  it.each<[what: string, said: RegExp, tamper: (tree: string) => void]>([
    ["is not signed", /unsigned/, (tree) => rmSync(join(tree, "MANIFEST.sig"))],
    [
      "is signed by a stranger",
      /not by a key/,
      (tree) => {
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(shop.folder, "stranger")]);
        rmSync(join(tree, "MANIFEST.sig"));
        const sign = ["-q", "-Y", "sign", "-f", join(shop.folder, "stranger"), "-n", "pipit-release"];
        execFileSync("ssh-keygen", [...sign, join(tree, "MANIFEST")], { stdio: "ignore" });
      },
    ],
    ["has one file more", /files differ/, (tree) => writeFileSync(join(tree, "app/extra.js"), "")],
    ["has one file less", /files differ/, (tree) => rmSync(join(tree, "app/dist/main.js"))],
    ["holds a link", /not a regular file/, (tree) => symlinkSync("/etc/shadow", join(tree, "app/link"))],
  ])("a release that %s is refused by name of the fault", (_what, said, tamper) => {
    board.put(pack(shop.signed({ version: "1.2.0", tamper }, true)), "root/bad.tar.xz");
    const { code, stderr } = board.try("pipitctl stage /root/bad.tar.xz");
    // In the last line, which is what an operator of a fleet sees.
    expect([code, stderr.trim().split("\n").at(-1)]).toEqual([1, expect.stringMatching(said)]);
    expect(board.try("ls /opt/pipit/releases").stdout).not.toContain("1.2.0");
  });

  it.each([
    ["a signed tree", "tree", FULL ? 700 : 140],
    ["a packed bundle", "bundle", FULL ? 200 : 40],
    ["a model file", "model", FULL ? 100 : 20],
  ])("in %s is refused, every time", (_what, kind, count) => {
    const { stdout } = board.try(`python3 /root/flipper.py ${kind} ${SEED} ${count}`, 500_000);
    console.log(`${count} flips of ${kind}, seed ${SEED}: ${stdout.trim()}`);
    expect(JSON.parse(stdout)).toMatchObject({ intact: 0, accepted: [], after: 0, left: [] });
  });

  function pack(tree: string): string {
    execFileSync("tar", ["-cJf", `${tree}.tar.xz`, basename(tree)], { cwd: shop.folder });
    return `${tree}.tar.xz`;
  }
});
