// The Debian package on a booted board, by apt and offline: install, answer, upgrade under a changed configuration, removal,
// purge. And lintian's word on it.
import { execFileSync } from "node:child_process";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FULL } from "./level.ts";
import { Machine } from "./machine.ts";
import { whyNoBoards } from "./needs.ts";
import { modelFile, MODEL_SHA256, ReleaseShop } from "./release.ts";

const BUILD = resolve(import.meta.dirname, "../../scripts/release/build-deb.sh");
const reason = whyNoBoards("dpkg-deb", ...(FULL ? ["lintian"] : []));

describe.skipIf(reason !== undefined)(`the Debian package${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const board = new Machine("package", 40);
  let shop: ReleaseShop;

  beforeAll(async () => {
    shop = new ReleaseShop();
    await board.boot();
    board.put(modelFile() ?? "", "root/model.gguf");
    for (const version of ["1.0.0", "1.1.0"]) board.put(build(version), `root/pipit-${version}.deb`);
  }, 300_000);

  afterAll(async () => {
    await board.destroy();
    shop.remove();
  }, 60_000);

  const apt = (words: string) =>
    board.try(`DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 -y ${words} </dev/null 2>&1`);
  const paris = () => expect(board.sh("pipit ask 'What is the capital of France?'")).toContain("Paris");
  const installed = () => board.try("dpkg-query -W -f '${Version} ${db:Status-Abbrev}' pipit").stdout.trim();

  // It reads every file of the runtime and the modules: a minute and more.
  if (FULL)
    it("has no errors for lintian", () => {
      const { stdout, code } = lintian(build("1.0.0"));
      console.log(stdout);
      expect([code, stdout.split("\n").filter((line) => line.startsWith("E:"))]).toEqual([0, []]);
    });

  it("installs offline, starts, and answers once it has a model", async () => {
    const first = apt("install /root/pipit-1.0.0.deb");
    console.log(first.stdout);
    expect(first.code, first.stdout).toBe(0);
    expect(installed()).toBe("1.0.0 ii");
    console.log(board.sh(`pipitctl model add /root/model.gguf ${MODEL_SHA256}; pipitctl fit-memory 2>&1`));
    board.sh("systemctl restart pipit");
    paris();
    expect(board.sh("systemctl is-enabled pipit pipit-revert").trim()).toBe("enabled\nenabled");
    expect(board.sh("pipitctl status")).toMatch(/version +1\.0\.0/);
    expect(board.try("systemd-analyze security --threshold=15 --no-pager pipit.service").code).toBe(0);
  });

  it("is upgraded by apt while it runs, and keeps the owner's configuration", async () => {
    board.sh("printf '\\n# mine\\n' >>/etc/pipit/pipit.yaml");
    const asked = board.start("pipit ask --deadline-ms 60000 'What is the capital of France?'");
    const upgrade = apt("install /root/pipit-1.1.0.deb");
    expect(upgrade.code, upgrade.stdout).toBe(0);
    expect((await asked).stdout).toContain("Paris");
    expect(installed()).toBe("1.1.0 ii");
    expect(board.sh("tail -n 1 /etc/pipit/pipit.yaml").trim()).toBe("# mine");
    paris();
    expect(board.sh("pipitctl status")).toMatch(/version +1\.1\.0/);
  });

  it("points to apt when pipitctl is asked for an update", () => {
    const update = board.try("pipitctl update /root/pipit-1.1.0.deb");
    expect([update.code, update.stderr]).toEqual([1, expect.stringContaining("apt install")]);
  });

  it("is removed with its state kept, comes back with it, and leaves nothing after a purge", () => {
    expect(apt("remove pipit").code).toBe(0);
    expect(board.try("systemctl is-active pipit").stdout.trim()).not.toBe("active");
    expect(board.sh("ls /var/lib/pipit/models")).toContain(MODEL_SHA256);
    expect(apt("install /root/pipit-1.1.0.deb").code).toBe(0);
    paris();
    const purge = apt("purge pipit");
    expect(purge.code, purge.stdout).toBe(0);
    expect(board.leftovers()).toEqual({ files: "", user: "", units: "", processes: "" });
  });

  function build(version: string): string {
    const tree = shop.signed({ version });
    const env = { ...process.env, SOURCE_DATE_EPOCH: "1700000000" };
    execFileSync("sh", [BUILD, tree, shop.folder, "0"], { env, stdio: ["ignore", "ignore", "inherit"] });
    return join(shop.folder, `pipit_${version}_${process.arch === "arm64" ? "arm64" : "amd64"}.deb`);
  }
});

function lintian(deb: string): { code: number; stdout: string } {
  try {
    return {
      code: 0,
      stdout: execFileSync("lintian", ["--allow-root", "--fail-on", "error", deb], { encoding: "utf8" }),
    };
  } catch (thrown) {
    const { status, stdout } = thrown as { status: number; stdout: string };
    return { code: status, stdout };
  }
}
