// Five boards and one command: a good release reaches all, a bad one stops at the canary, a board that is lost in the middle
// is reported and finished by a second run. Ansible over real SSH; the boards' own network is the only one used.
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CACHE, succeeds, whyNoContainers } from "./base-root.ts";
import { Machine } from "./machine.ts";
import { addToUnit, modelFile, MODEL_SHA256, ReleaseShop } from "./release.ts";

const REPO = resolve(import.meta.dirname, "../..");
const BOARDS = Number(process.env["PIPIT_FLEET_BOARDS"] ?? 5);
const reason = whyNoContainers() ?? (modelFile() ? undefined : "the model is not here: pipit models fetch");
const ENVIRONMENT = join(CACHE, "ansible");

interface Row {
  host: string;
  version: string;
  service: string;
}

describe.skipIf(reason !== undefined)(`a fleet of ${BOARDS}${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const folder = mkdtempSync(join(tmpdir(), "pipit-fleet-"));
  const boards = Array.from({ length: BOARDS }, (_, index) => new Machine(`pi-${index + 1}`, 101 + index));
  const [canary, ...others] = boards as [Machine, ...Machine[]];
  let shop: ReleaseShop;

  beforeAll(async () => {
    installAnsible();
    shop = new ReleaseShop();
    const release = shop.bundle({ version: "1.0.0" });
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, "id")]);
    writeInventory();
    for (const board of boards) {
      await board.boot();
      board.sh("mkdir -p -m 700 /root/.ssh");
      board.put(join(folder, "id.pub"), "root/.ssh/authorized_keys");
      board.put(release, "root/pipit.tar.xz");
      board.put(modelFile() ?? "", `root/${MODEL_SHA256}.gguf`);
      board.sh("chown root:root /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys");
      board.sh(
        "cd /root && tar -xJf pipit.tar.xz && release/install.sh </dev/null && rm -rf release pipit.tar.xz *.gguf",
      );
    }
  }, 900_000);

  afterAll(async () => {
    for (const board of boards) await board.destroy();
    shop.remove();
    rmSync(folder, { recursive: true, force: true });
  }, 120_000);

  it("says what a deployment would do, and does nothing", async () => {
    const { code, stdout } = await fleet("--dry-run", "deploy", shop.bundle({ version: "1.1.0" }));
    expect(code, stdout).toBe(0);
    expect(stdout).toMatch(/pi-1 +1.0.0 +planned +1.0.0 -> 1.1.0/);
    expect(await versions()).toEqual(boards.map(() => "1.0.0"));
  });

  it("updates every board with one command", async () => {
    const startedMs = performance.now();
    const { code, stdout, stderr } = await fleet("deploy", shop.bundle({ version: "1.1.0" }));
    console.log(`${BOARDS} boards updated in ${((performance.now() - startedMs) / 1000).toFixed(0)} s\n${stdout}`);
    expect(code, stdout + stderr).toBe(0);
    expect(await versions()).toEqual(boards.map(() => "1.1.0"));
    expect(performance.now() - startedMs).toBeLessThan(600_000);
  });

  const wrong = (tree: string) => addToUnit(shop, tree, "Environment=PIPIT_ANSWER_MAX_TOKENS=1");
  const byte = (tree: string) => shop.edit(tree, "app/package.json", (text) => text.replace("{", "{ "));
  it.each([
    ["answers wrong", "reverted", { change: wrong }],
    ["was changed by one byte", "refused", { tamper: byte }],
  ])(
    "stops at the canary when the release %s: it is back within 180 s, the others untouched",
    async (_what, result, fault) => {
      const startedMs = performance.now();
      const { code, stdout } = await fleet("deploy", shop.bundle({ version: "1.2.0", ...fault }));
      console.log(stdout);
      expect(code, stdout).toBe(1);
      expect(stdout).toMatch(new RegExp(`pi-1 +1.1.0 +${result}`));
      expect(performance.now() - startedMs).toBeLessThan(180_000);
      expect(canary.try("pipitctl exam").code).toBe(0);
      for (const board of others) expect(board.sh("ls /opt/pipit/releases")).not.toContain("1.2.0");
      expect(await versions()).toEqual(boards.map(() => "1.1.0"));
    },
  );

  it("reports a board that is lost in the middle of a wave, goes on within the budget, and finishes it in a second run", async () => {
    const lost = others[1] as Machine;
    const bundle = shop.bundle({ version: "1.3.0" });
    const running = fleet("deploy", bundle);
    await lost.until(
      "its update has begun",
      "grep -q 'phase=\\(staging\\|verifying\\)' /var/lib/pipit-update/phase",
      300_000,
    );
    await lost.powerCut();
    const first = await running;
    console.log(first.stdout);
    expect(first.code, first.stdout).toBe(75);
    expect(first.stdout).toMatch(new RegExp(`${lost.name} .*lost`));
    expect((await versions([lost])).every((version) => version === "1.3.0")).toBe(true);
    await lost.boot();
    await lost.until("sshd is up", "systemctl is-active --quiet ssh pipit", 60_000);
    const second = await fleet("deploy", bundle);
    expect(second.code, second.stdout).toBe(0);
    expect(await versions()).toEqual(boards.map(() => "1.3.0"));
  });

  it("shows a table of the fleet", async () => {
    const { code, stdout } = await fleet("status");
    console.log(stdout);
    expect(code).toBe(0);
    for (const board of boards) expect(stdout).toMatch(new RegExp(`${board.name} +1.3.0 +smollm2\\S+ +active +online`));
  });

  async function versions(without: Machine[] = []): Promise<string[]> {
    const { stdout } = await fleet("status", "--json");
    const rows = JSON.parse(stdout) as Row[];
    return rows.filter(({ host }) => !without.some(({ name }) => name === host)).map(({ version }) => version);
  }

  function fleet(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const env = {
      ...process.env,
      PATH: `${ENVIRONMENT}/bin:${process.env["PATH"]}`,
      ANSIBLE_HOST_KEY_CHECKING: "false",
    };
    return new Promise((done) => {
      execFile(
        "setsid",
        // Ansible sets the terminal's modes, which stops it in a background job: it gets a session without one.
        ["--wait", join(REPO, "scripts/fleet.sh"), "-i", join(folder, "inventory.yml"), ...args],
        { env, maxBuffer: 1 << 26 },
        (error, stdout, stderr) => {
          done({ code: error === null ? 0 : Number(error.code), stdout, stderr });
        },
      );
    });
  }

  function writeInventory(): void {
    const host = ({ name, address }: Machine) => `        ${name}: { ansible_host: ${address} }\n`;
    const ssh =
      "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -o ServerAliveInterval=3 -o ServerAliveCountMax=2";
    writeFileSync(
      join(folder, "inventory.yml"),
      `pipit:\n  vars:\n    ansible_user: root\n    ansible_ssh_private_key_file: ${join(folder, "id")}\n    ansible_ssh_common_args: ${ssh}\n    ansible_python_interpreter: /usr/bin/python3\n    soak_seconds: 2\n    maintenance_window: ""\n    waves: [1, "50%", "100%"]\n  children:\n    canary:\n      hosts:\n${host(canary)}    field:\n      hosts:\n${others.map(host).join("")}`,
    );
  }
});

/** The engine of fleet.sh, in an environment of its own, from PyPI by name. */
function installAnsible(): void {
  if (succeeds("ansible-playbook", ["--version"]) || existsSync(join(ENVIRONMENT, "bin/ansible-playbook"))) return;
  execFileSync("python3", ["-m", "venv", ENVIRONMENT]);
  execFileSync(join(ENVIRONMENT, "bin/pip"), ["install", "--quiet", "ansible-core"], { stdio: "ignore" });
}
