// A board for tests: Debian 12 booted by systemd-nspawn with its own PID 1, network and disk. The disk is an ext4 image, so
// that a power cut can be real: every process is killed, the image is copied as it lies there (what was not synced is lost
// with the kernel's pages), and the next boot mounts the copy and replays its journal.
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { baseRoot, INIT, succeeds } from "./base-root.ts";

const DISK = "3G";
const BOOT_MS = 120_000;
/** Network of the test hosts: a bridge of our own, on this machine only, one for each test process. */
const BRIDGE = `pipit-br${process.pid}`;
const SUBNET = `10.${64 + ((process.pid >> 8) % 128)}.${process.pid % 256}`;
const V1 = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"].filter((path) =>
  existsSync(path),
);
const CGROUPS = V1.length > 0 ? V1 : ["/sys/fs/cgroup"];
/** What a machine owns is named by the test process, so that a later run can tell what a killed one left. */
const FOLDER = "pipit-system-";
const GROUP = "pipit-test-";

export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

let bridgeUsers = 0;

export class Machine {
  readonly name: string;
  readonly address: string;
  readonly #folder: string;
  readonly #cgroups: string[];
  #container: ChildProcess | undefined;
  #leader = 0;
  /** The last words of nspawn and of the container's first process. */
  #said = "";
  readonly #mounts: string[] = [];

  /** `number` from 2 to 250 gives the address. */
  constructor(name: string, number: number) {
    this.name = name;
    this.address = `${SUBNET}.${number}`;
    this.#folder = join(tmpdir(), `${FOLDER}${process.pid}`, name);
    this.#cgroups = CGROUPS.map((path) => join(path, `${GROUP}${process.pid}-${name}`));
  }

  /** The root file system as the host sees it. */
  get root(): string {
    return join(this.#folder, "root");
  }

  async boot(): Promise<void> {
    if (this.#container) return;
    this.#mount();
    if (bridgeUsers++ === 0) makeBridge();
    for (const cgroup of this.#cgroups) mkdirSync(cgroup, { recursive: true });
    const join_ = this.#cgroups.map((cgroup) => `echo $$ >${cgroup}/cgroup.procs`).join("; ");
    const nspawn = `exec systemd-nspawn --quiet -D ${this.root} --machine=${this.name}-${process.pid} --hostname=${this.name} --register=no --keep-unit --console=pipe --network-bridge=${BRIDGE} ${INIT}`;
    // The hierarchy of this machine, so that the memory controller is there for the container's systemd too.
    const env = { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: V1.length > 0 ? "0" : "1" };
    this.#container = spawn("sh", ["-c", `${join_}; ${nspawn}`], { env, stdio: ["ignore", "ignore", "pipe"] });
    this.#container.stderr?.on("data", (text) => (this.#said = `${this.#said}${text}`.slice(-500)));
    const booted = Date.now() + BOOT_MS;
    await until(booted, `${this.name} has a first process`, () => this.#findLeader());
    await until(booted, `${this.name} is up`, () => this.#up());
    this.sh(`ip addr add ${this.address}/24 dev host0; ip link set host0 up`);
  }

  /** Runs a line of shell in the container; throws when it fails. */
  sh(script: string): string {
    const { code, stdout, stderr } = this.try(script);
    if (code !== 0) throw new Error(`${this.name}: ${script}\nexit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  try(script: string, timeoutMs = 300_000): Outcome {
    return this.#inside(["sh", "-c", script], timeoutMs);
  }

  /** The same without waiting in this process. */
  start(script: string): Promise<Outcome> {
    return new Promise((resolve) => {
      execFile("nsenter", this.#enter(["sh", "-c", script]), { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 255, stdout, stderr });
      });
    });
  }

  /** Waits until a line of shell succeeds in the container. */
  async until(what: string, script: string, timeoutMs = 60_000): Promise<void> {
    await until(Date.now() + timeoutMs, `${this.name}: ${what}`, () => this.try(script).code === 0);
  }

  put(file: string, path: string): void {
    cpSync(file, join(this.root, path), { recursive: true });
  }

  /** The control group of a unit with a memory controller, as the container sees it; undefined where this machine has none. */
  unitGroup(unit: string): string | undefined {
    const paths = [`/sys/fs/cgroup/memory/system.slice/${unit}`, `/sys/fs/cgroup/system.slice/${unit}`];
    return paths.find(
      (path) => this.try(`ls ${path}/memory.limit_in_bytes ${path}/memory.max 2>/dev/null | grep .`).code === 0,
    );
  }

  /** The limit that the kernel keeps for a unit; undefined where there is no memory controller. */
  memoryLimit(unit: string): number | undefined {
    const group = this.unitGroup(unit);
    return group === undefined
      ? undefined
      : Number(this.sh(`cat ${group}/memory.limit_in_bytes ${group}/memory.max 2>/dev/null || true`));
  }

  /** Every process gone at this instant, and with it all that was not synced to the disk. */
  async powerCut(): Promise<void> {
    await this.#kill();
    execFileSync("cp", ["--sparse=always", this.disk, `${this.disk}.cut`]);
    this.#unmount();
    renameSync(`${this.disk}.cut`, this.disk);
  }

  async shutdown(): Promise<void> {
    await this.#kill();
    // Other containers may hold the mount in name spaces of their own, and then its end here writes nothing to the image.
    for (const path of this.#mounts.slice(0, 1)) execFileSync("sync", ["-f", path]);
    this.#unmount();
  }

  /** The image of a board that is shut down. */
  get disk(): string {
    return join(this.#folder, "disk.img");
  }

  /** Takes a copy of another board's disk, before its first boot. */
  takeDisk(image: string): void {
    mkdirSync(this.#folder, { recursive: true });
    execFileSync("cp", ["--sparse=always", image, this.disk]);
  }

  /** Leaves nothing behind: processes, mounts, control groups, network, files. */
  async destroy(): Promise<void> {
    await this.shutdown();
    rmSync(this.#folder, { recursive: true, force: true });
    // The folder of this process, when this was its last board.
    succeeds("rmdir", ["--ignore-fail-on-non-empty", dirname(this.#folder)]);
  }

  /** What a removal forgot, in words of each kind; all empty when nothing is left. */
  leftovers(): Record<"files" | "user" | "units" | "processes", string> {
    const files = "find / -xdev -name '*pipit*' -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*'";
    return {
      files: this.sh(files),
      user: this.try("getent passwd pipit; getent group pipit").stdout,
      units: this.sh("systemctl list-units --all --plain --no-legend 'pipit*'"),
      processes: this.try("ls -l /proc/[0-9]*/exe 2>/dev/null | grep pipit").stdout,
    };
  }

  /** Cuts or mends the network cable. */
  plug(connected: boolean): void {
    this.sh(`ip link set host0 ${connected ? "up" : "down"}`);
  }

  async #kill(): Promise<void> {
    const container = this.#container;
    if (!container) return;
    this.#container = undefined;
    const gone = once(container, "exit");
    if (container.exitCode === null && container.signalCode === null) {
      try {
        process.kill(this.#leader || (container.pid as number), "SIGKILL");
      } catch {
        container.kill("SIGKILL");
      }
      await gone;
    }
    await until(Date.now() + 10_000, `${this.name}: its control groups are empty`, () =>
      this.#cgroups.every(removeGroup),
    );
    if (--bridgeUsers === 0) succeeds("ip", ["link", "del", BRIDGE]);
  }

  #mount(): void {
    if (this.#mounts.length > 0) return;
    const disk = join(this.#folder, "disk");
    const image = this.disk;
    for (const folder of [disk, this.root]) mkdirSync(folder, { recursive: true });
    if (!existsSync(image)) {
      execFileSync("truncate", ["-s", DISK, image]);
      execFileSync("mkfs.ext4", [
        "-q",
        "-O",
        "^has_journal,has_journal",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1",
        image,
      ]);
    }
    execFileSync("mount", ["-o", "loop,noatime", image, disk]);
    this.#mounts.push(disk);
    for (const folder of ["upper", "work"]) mkdirSync(join(disk, folder), { recursive: true });
    const layers = `lowerdir=${baseRoot()},upperdir=${disk}/upper,workdir=${disk}/work`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, this.root]);
    this.#mounts.push(this.root);
  }

  #unmount(): void {
    for (let path = this.#mounts.at(-1); path !== undefined; path = this.#mounts.at(-1)) {
      execFileSync("umount", [path]);
      this.#mounts.pop();
    }
  }

  /** nspawn forks a helper first: the leader is the child that is process 1 in a namespace of its own. */
  #findLeader(): boolean {
    const pid = this.#container?.pid;
    if (pid === undefined || this.#container?.exitCode !== null)
      throw new Error(`${this.name}: the container has ended. ${this.#said}`);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    const leader = children.find((child) => /^NSpid:.*\t1$/m.test(readOr("", `/proc/${child}/status`)));
    this.#leader = Number(leader ?? 0);
    return this.#leader > 0;
  }

  #up(): boolean {
    const state = this.#inside(["systemctl", "is-system-running"]).stdout.trim();
    return state === "running" || state === "degraded";
  }

  #enter(command: string[]): string[] {
    const env = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"];
    return ["--target", String(this.#leader), "--all", ...env, ...command];
  }

  #inside(command: string[], timeout = 60_000): Outcome {
    try {
      const stdout = execFileSync("nsenter", this.#enter(command), {
        encoding: "utf8",
        timeout,
        stdio: ["ignore", "pipe", "pipe"],
        maxBuffer: 1 << 26,
      });
      return { code: 0, stdout, stderr: "" };
    } catch (thrown) {
      const { status, stdout, stderr } = thrown as { status: number | null; stdout?: string; stderr?: string };
      return { code: status ?? 124, stdout: stdout ?? "", stderr: stderr ?? "" };
    }
  }
}

/** Asks again every 100 ms: a container tells nobody outside how far it is. */
export async function until(deadline: number, what: string, holds: () => boolean): Promise<void> {
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function readOr(fallback: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return fallback;
  }
}

function makeBridge(): void {
  execFileSync("ip", ["link", "add", BRIDGE, "type", "bridge"]);
  execFileSync("ip", ["addr", "add", `${SUBNET}.1/24`, "dev", BRIDGE]);
  execFileSync("ip", ["link", "set", BRIDGE, "up"]);
}

/** The container's systemd leaves groups of its own below ours. */
function removeGroup(path: string): boolean {
  if (!existsSync(path)) return true;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory() && !removeGroup(join(path, entry.name))) return false;
  }
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Removes the machines of test processes that were killed before they could do it themselves. */
export async function sweepLostMachines(): Promise<void> {
  const lost = (name: string, prefix: string): boolean =>
    name.startsWith(prefix) && !existsSync(`/proc/${name.slice(prefix.length).split("-")[0]}`);
  for (const hierarchy of CGROUPS) {
    for (const name of readdirSync(hierarchy).filter((name) => lost(name, GROUP))) killGroup(join(hierarchy, name));
  }
  for (const name of readdirSync(tmpdir()).filter((name) => lost(name, FOLDER))) {
    const folder = join(tmpdir(), name);
    const mounts = readFileSync("/proc/mounts", "utf8").split("\n");
    const ours = mounts.map((line) => line.split(" ")[1] ?? "").filter((path) => path.startsWith(`${folder}/`));
    for (const path of ours.reverse()) {
      await until(Date.now() + 10_000, `${path} is unmounted`, () => succeeds("umount", [path]));
    }
    rmSync(folder, { recursive: true, force: true });
    succeeds("ip", ["link", "del", `pipit-br${name.slice(FOLDER.length)}`]);
  }
  for (const hierarchy of CGROUPS) {
    for (const name of readdirSync(hierarchy).filter((name) => lost(name, GROUP))) removeGroup(join(hierarchy, name));
  }
}

function killGroup(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) killGroup(join(path, entry.name));
  }
  for (const pid of readOr("", join(path, "cgroup.procs")).split("\n").filter(Boolean)) {
    succeeds("kill", ["-KILL", pid]);
  }
}
