// A fleet for tests: one board lets the operator in, the others are copies of its disk; an inventory, and scripts/fleet.sh with real
// Ansible over real SSH. The boards' own network is the only one used.
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { CACHE, succeeds } from "./base-root.ts";
import { keepFigure } from "./figures.ts";
import { FULL } from "./level.ts";
import { Machine } from "./machine.ts";
import type { ReleaseShop } from "./release.ts";

const REPO = resolve(import.meta.dirname, "../..");
/** Where pip puts Ansible when the machine has none. */
export const ENVIRONMENT = join(CACHE, "ansible");
const SSH =
  "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -o ServerAliveInterval=3 -o ServerAliveCountMax=2";

export interface FleetOutcome {
  code: number;
  stdout: string;
  stderr: string;
  seconds: number;
}

/** A row of `--json`, of which every command fills its part. */
export interface Row {
  host: string;
  result: string;
  detail: string;
  version: string;
  model: string;
  healthy: boolean;
  last_answer_at: string | null;
  [key: string]: unknown;
}

export class Fleet {
  /** Inventory, key and whatever a test puts there; made by `start`. */
  folder = "";
  readonly boards: Machine[];
  readonly #children: ChildProcess[] = [];
  /** Lines of the inventory for all boards, and for single ones. */
  vars: Record<string, unknown> = { soak_seconds: 1, maintenance_window: "", waves: ["50%", "100%"] };
  hostVars: Record<string, Record<string, unknown>> = {};
  /** From then on every command opens the vault beside the inventory. */
  vaultPasswordFile = "";

  constructor(count: number) {
    this.boards = Array.from({ length: count }, (_, index) => new Machine(`pi-${index + 1}`, 101 + index));
  }

  get canary(): Machine {
    return this.boards[0] as Machine;
  }

  get others(): Machine[] {
    return this.boards.slice(1);
  }

  /** Boards with version 1.0.0 at work. */
  async start(shop: ReleaseShop): Promise<void> {
    installAnsible();
    this.folder = mkdtempSync(join(tmpdir(), "pipit-fleet-"));
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(this.folder, "id")]);
    const { canary, others } = this;
    canary.takeDisk(shop.disk);
    await canary.boot();
    canary.sh("mkdir -p -m 700 /root/.ssh");
    canary.put(join(this.folder, "id.pub"), "root/.ssh/authorized_keys");
    canary.sh("chown root:root /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys");
    // Boards that share this machine would disturb one another's calibration, and begin again for ever.
    canary.sh("echo PIPIT_GOVERNOR_CALIBRATE_CRON=off >>/etc/pipit/pipit.env");
    await canary.shutdown();
    for (const board of others) board.takeDisk(canary.disk);
    await Promise.all(this.boards.map((board) => board.boot()));
    for (const board of this.boards) await board.until("Pipit is up", "systemctl is-active --quiet pipit", 120_000);
  }

  async remove(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill();
      await once(child, "exit");
    }
    for (const board of this.boards) await board.destroy();
    if (this.folder) rmSync(this.folder, { recursive: true, force: true });
  }

  /** scripts/fleet.sh with this fleet's inventory. */
  run(...args: string[]): Promise<FleetOutcome> {
    this.#writeInventory();
    const startedMs = performance.now();
    const env = {
      ...process.env,
      PATH: `${process.env["PATH"]}:${ENVIRONMENT}/bin`,
      ANSIBLE_HOST_KEY_CHECKING: "false",
    };
    // Ansible sets the terminal's modes, which stops it in a background job: it gets a session without one.
    const vault = this.vaultPasswordFile ? ["--vault-password-file", this.vaultPasswordFile] : [];
    const inventory = ["-i", join(this.folder, "inventory.json")];
    const command = ["--wait", join(REPO, "scripts/fleet.sh"), ...inventory, ...vault, ...args];
    return new Promise((done) => {
      execFile("setsid", command, { env, cwd: this.folder, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
        const seconds = (performance.now() - startedMs) / 1000;
        done({ code: error === null ? 0 : Number(error.code), stdout, stderr, seconds });
      });
    });
  }

  async rows(...args: string[]): Promise<Row[]> {
    const { stdout, stderr } = await this.run("--json", ...args);
    try {
      return JSON.parse(stdout) as Row[];
    } catch {
      throw new Error(`no JSON from fleet.sh ${args.join(" ")}:\n${stdout}\n${stderr}`);
    }
  }

  /** By what the boards' disks say, which needs no SSH. */
  versions(boards = this.boards): string[] {
    return boards.map((board) => board.sh("sed -n s/^VERSION=//p /opt/pipit/current/release.env").trim());
  }

  /** Writes a file beside the inventory; its path. */
  file(name: string, content: string, mode = 0o644): string {
    const path = join(this.folder, name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  /** A broker on the boards' network, that asks for a password; its address. */
  broker(address: string, user: string, password: string): string {
    const users = this.file("users", "");
    execFileSync("mosquitto_passwd", ["-b", users, user, password]);
    chmodSync(users, 0o644);
    chmodSync(this.folder, 0o755);
    const config = this.file(
      "mosquitto.conf",
      `listener 1883 ${address}\npassword_file ${users}\nset_tcp_nodelay true\n`,
    );
    this.#children.push(spawn("mosquitto", ["-c", config], { stdio: "ignore" }));
    return `mqtt://${address}:1883`;
  }

  #writeInventory(): void {
    const hosts = (boards: Machine[]) =>
      Object.fromEntries(
        boards.map(({ name, address }) => [name, { ansible_host: address, ...this.hostVars[name] }] as const),
      );
    const vars = {
      ansible_user: "root",
      ansible_ssh_private_key_file: join(this.folder, "id"),
      ansible_ssh_common_args: SSH,
      ansible_python_interpreter: "/usr/bin/python3",
      ...this.vars,
    };
    const children = { canary: { hosts: hosts([this.canary]) }, field: { hosts: hosts(this.others) } };
    this.file("inventory.json", JSON.stringify({ pipit: { vars, children } }));
  }
}

/** A figure of docs/fleet.md. */
export function keepSeconds(what: string, seconds: number, target?: string): void {
  const command = `PIPIT_TEST_SYSTEM=${FULL ? "full" : "ci"} npx vitest run --project system test/system/fleet`;
  keepFigure("fleet", command, { case: what, measured: seconds, unit: "s", ...(target && { target }) });
}

/** The engine of fleet.sh, in an environment of its own, from PyPI by name. */
export function installAnsible(): void {
  if (succeeds("ansible-playbook", ["--version"]) || existsSync(join(ENVIRONMENT, "bin/ansible-playbook"))) return;
  execFileSync("python3", ["-m", "venv", ENVIRONMENT]);
  execFileSync(join(ENVIRONMENT, "bin/pip"), ["install", "--quiet", "ansible-core"], { stdio: "ignore" });
}
