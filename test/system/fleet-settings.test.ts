// What fleet.sh says to an operator whose inventory, vault or settings are wrong, before any board is spoken to: by real Ansible,
// with an inventory whose boards are nowhere.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ENVIRONMENT, installAnsible } from "./fleet.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const INVENTORY = `pipit:
  vars: { ansible_ssh_common_args: "-o BatchMode=yes -p 1" }
  children:
    canary: { hosts: { pi-1: { ansible_host: 127.0.0.1 } } }
    barn: { hosts: { pi-2: { ansible_host: 127.0.0.1 } } }
`;

describe("fleet.sh before it speaks to a board", () => {
  const folder = mkdtempSync(join(tmpdir(), "pipit-fleet-settings-"));
  const path = (name: string) => join(folder, name);
  const file = (name: string, content: string) => {
    writeFileSync(path(name), content, { mode: 0o600 });
    return path(name);
  };
  const run = (inventory: string, ...args: string[]) => {
    const env = { ...process.env, PATH: `${process.env["PATH"]}:${ENVIRONMENT}/bin` };
    // Ansible sets the terminal's modes, which stops it in a background job: it gets a session without one.
    const command = ["--wait", join(ROOT, "scripts/fleet.sh"), "-i", path(inventory), ...args];
    const { status, stdout, stderr } = spawnSync("setsid", command, { encoding: "utf8", env });
    return { code: status, stdout, stderr };
  };

  beforeAll(() => {
    installAnsible();
    file("boards.yml", INVENTORY);
    file("nobody.yml", "all: { hosts: { pi-1: } }\n");
    file("no-canary.yml", "pipit: { hosts: { pi-1: } }\n");
    file("broken.yml", "pipit: [\n  pi-1\n");
    mkdirSync(path("vault/group_vars/pipit"), { recursive: true });
    file("vault/boards.yml", INVENTORY);
    file("right", "open sesame\n");
    file("wrong", "open barley\n");
    const secrets = file("vault/group_vars/pipit/vault.yml", "pipit_secrets: { broker_password: x }\n");
    execFileSync("ansible-vault", ["encrypt", "--vault-password-file", path("right"), secrets], {
      stdio: "ignore",
      env: { ...process.env, PATH: `${process.env["PATH"]}:${ENVIRONMENT}/bin` },
    });
  }, 300_000);

  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ["boards.yml", ["-l", "pi-1,pi-9", "status"], /--limit: .*boards.yml names no board or group pi-9/],
    ["boards.yml", ["-l", "!all", "exec", "true"], /--limit !all leaves no board of .*boards.yml/],
    ["nobody.yml", ["status"], /nobody.yml names no board in the group pipit/],
    ["broken.yml", ["status"], /broken.yml is no inventory: .*line 3/],
    ["no-canary.yml", ["config"], /names no board in the group canary/],
    ["boards.yml", ["-e", "waves=50%", "config"], /waves must be a list of numbers .*, got 50%/],
    ["boards.yml", ["-e", '{"waves": []}', "config"], /waves must be a list of numbers .*, got \[\]/],
    ["boards.yml", ["-e", "relay_port=0", "config"], /pi-1 +relay_port must be a port from 1 to 65535, got '0'/],
    [
      "boards.yml",
      ["-e", "pipit_config_host=x", "config"],
      /pi-2 +pipit_config_host must be keys and values.*, got 'x'/,
    ],
    [
      "boards.yml",
      ["-e", '{"pipit_secrets": {"brocker_password": "hidden"}}', "config"],
      /pipit_secrets must hold no other than broker_password and broker_key, got \['brocker_password'\]/,
    ],
    ["vault/boards.yml", ["config"], /has a vault: give --ask-vault-pass or --vault-password-file/],
    ["vault/boards.yml", ["--vault-password-file", path("wrong"), "config"], /vault password is not the one/],
  ])("with %s and %j names what is wrong, and exits with 1", (inventory, args, message) => {
    const { code, stdout, stderr } = run(inventory, ...args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/Canary|reachable|hidden/);
  });

  it("reports boards that are not there as lost, once, and exits with 75", () => {
    const { code, stdout, stderr } = run("vault/boards.yml", "--vault-password-file", path("right"), "config");
    expect(code, stdout + stderr).toBe(75);
    expect(stdout).toMatch(/pi-1 +lost .*\npi-2 +left alone/);
    expect(stderr.match(/pi-1 +not reachable/g)).toHaveLength(1);
    expect(stderr).not.toContain("Check, restart");
  });

  it("shows what SSH found when the broker of status --mqtt does not answer, and why a board does not", () => {
    const { code, stdout, stderr } = run("boards.yml", "--mqtt", "mqtt://127.0.0.1:1", "status");
    expect(code).toBe(1);
    expect(stderr).toContain("no answer from the broker mqtt://127.0.0.1:1");
    expect(stdout).toMatch(/pi-2 .*unreachable .* (ssh: connect to host 127.0.0.1 port 1|\[Errno 32\] Broken pipe)/);
  });
});
