// The arm64 release on this machine under qemu-user: its own Node, its own native library, the real model. Slow, so the figures
// say that it works and not how fast a board is. Needs qemu-aarch64 and arm64 C libraries (Debian: qemu-user-static,
// libc6-arm64-cross, libstdc++6-arm64-cross, libgcc-s1-arm64-cross).
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { succeeds } from "./base-root.ts";
import { until } from "./machine.ts";
import { modelFile } from "./release.ts";

const REPO = resolve(import.meta.dirname, "../..");
const SYSROOT = "/usr/aarch64-linux-gnu";
const BINFMT = "/proc/sys/fs/binfmt_misc";
const ENTRY = join(BINFMT, "pipit-aarch64");
/** ELF, 64 bit, little endian, executable or shared, machine 0xb7; F: the interpreter is opened now, for all roots. */
const MAGIC =
  String.raw`:pipit-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00` +
  String.raw`:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:`;

const EMULATOR = ["/usr/bin/qemu-aarch64-static", "/usr/bin/qemu-aarch64"].find((path) => existsSync(path));
let mounted = false;
const reason = whyNot();

describe.skipIf(reason !== undefined)(`the arm64 release under qemu${reason ? ` (skipped: ${reason})` : ""}`, () => {
  let folder = "";
  let env: NodeJS.ProcessEnv = {};
  const children: ChildProcess[] = [];
  let pipit = "";

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "pipit-arm64-"));
    env = {
      ...process.env,
      PIPIT_TEST_SYSTEM: undefined,
      QEMU_LD_PREFIX: SYSROOT,
      PIPIT_STATE_DIR: join(folder, "state"),
      PIPIT_MODELS_DIR: dirname(modelFile() ?? ""),
      PIPIT_DEVICE_ID: "arm",
      PIPIT_ANSWER_DEADLINE_MS: "280000",
    };
    register();
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, "key")]);
    const args = ["--arch", "arm64", "--version", "1.0.0", "--tree", "--out", folder, "--key", join(folder, "key")];
    execFileSync(join(REPO, "scripts/build-release.sh"), args, { stdio: ["ignore", "ignore", "inherit"] });
    pipit = join(folder, "pipit-1.0.0-arm64/bin/pipit");
  }, 600_000);

  afterAll(async () => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill();
      await once(child, "exit");
    }
    unregister();
    if (folder) rmSync(folder, { recursive: true, force: true });
  }, 60_000);

  it("passes its self-test with koffi, the native library and SmolLM2", async () => {
    const startedMs = performance.now();
    const { stdout } = await promisify(execFile)(pipit, ["self-test", "--json"], { env });
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
    console.log(`arm64 self-test under qemu: ${seconds} s, ${stdout.trim()}`);
    const result = JSON.parse(stdout) as { text: string };
    expect(result).toMatchObject({ verdict: "passed", notify: "koffi" });
    expect(result.text).toContain("Paris");
  }, 600_000);

  it("answers one question and classifies one text over MQTT", async () => {
    const port = await freePort();
    children.push(spawn("mosquitto", ["-p", String(port)], { stdio: "ignore" }));
    const listens = ["-p", String(port), "-t", "$SYS/broker/version", "-C", "1", "-W", "2"];
    await until(Date.now() + 30_000, "the broker listens", () => succeeds("mosquitto_sub", listens));
    const here = { ...env, PIPIT_BROKER_URL: `mqtt://127.0.0.1:${port}` };
    children.push(spawn(pipit, ["run"], { env: here, stdio: "ignore" }));
    // Retained, so it comes whether the agent is on the bus before or after this.
    const online = ["-p", String(port), "-t", "pipit/arm/availability", "-C", "1", "-W", "300"];
    expect((await promisify(execFile)("mosquitto_sub", online)).stdout).toBe("online\n");
    const startedMs = performance.now();
    const ask = (...args: string[]) =>
      promisify(execFile)("node", [join(REPO, "dist/main.js"), ...args, "--deadline-ms", "280000"], { env: here });
    expect((await ask("ask", "--max-tokens", "16", "What is the capital of France?")).stdout).toContain("Paris");
    const classified = await ask(
      "classify",
      "--json",
      "--label",
      "music",
      "--label",
      "light",
      "Turn on the lamp in the kitchen",
    );
    const reply = JSON.parse(classified.stdout) as { status: string; label: string };
    console.log(
      `arm64 under qemu: one answer and one label in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`,
    );
    expect(["music", "light"]).toContain(reply.label);
  }, 600_000);
});

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root, to register the interpreter";
  if (EMULATOR === undefined) return "qemu-user-static is not installed";
  if (!existsSync(join(SYSROOT, "lib/libstdc++.so.6"))) return "no arm64 C libraries: libstdc++6-arm64-cross";
  if (!succeeds("sh", ["-c", "command -v mosquitto"])) return "mosquitto is not installed";
  if (!modelFile()) return "the model is not here: pipit models fetch";
  try {
    register();
    return undefined;
  } catch (thrown) {
    return `no arm64 program runs here: ${(thrown as Error).message.trim().split("\n").at(-1)}`;
  } finally {
    unregister();
  }
}

function register(): void {
  if (!existsSync(join(BINFMT, "register"))) {
    execFileSync("mount", ["-t", "binfmt_misc", "binfmt_misc", BINFMT]);
    mounted = true;
  }
  if (!existsSync(ENTRY)) writeFileSync(join(BINFMT, "register"), `${MAGIC}${EMULATOR}:F`);
}

function unregister(): void {
  if (existsSync(ENTRY)) writeFileSync(ENTRY, "-1");
  if (mounted) execFileSync("umount", [BINFMT]);
  mounted = false;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
