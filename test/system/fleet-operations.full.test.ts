// What an operator does between releases, each over real SSH: configuration with secrets from a vault, models with an exam and
// a relay, rollback, exec, collect, windows, limits. One canary and a site of three.
import { execFileSync } from "node:child_process";
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync } from "node:fs";
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Fleet, keepSeconds } from "./fleet.ts";
import { whyNoBoards } from "./needs.ts";
import { modelFile, ReleaseShop } from "./release.ts";

const reason = whyNoBoards("rsync");
const PASSWORD = "correct horse battery staple";
const EXAM = [
  { task: "answer", text: "What is the capital of France?", expect: "Paris" },
  { task: "answer", text: "Explain in two sentences what water is made of.", expect: "hydrogen|oxygen|H2O" },
  { task: "classify", text: "Turn on the lamp in the kitchen", label: "light", labels: ["music", "light"] },
];

describe.skipIf(reason !== undefined)(`a fleet at work${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const fleet = new Fleet(4);
  let shop: ReleaseShop;
  const { canary, others } = fleet;
  const [relay, ...neighbours] = others;
  let broker = "";

  beforeAll(async () => {
    shop = new ReleaseShop();
    await fleet.start(shop);
    broker = fleet.broker(canary.address.replace(/\d+$/, "1"), "pipit", PASSWORD);
  }, 600_000);

  afterAll(async () => {
    await fleet.remove();
    shop.remove();
  }, 120_000);

  it("runs one command everywhere, braces and quotes as they are, and tells which board failed", async () => {
    const { code, stdout } = await fleet.run("exec", "echo '{{ none }}' $(hostname)");
    expect(code, stdout).toBe(0);
    for (const { name } of fleet.boards) expect(stdout).toContain(`── ${name}: done, exit 0\n{{ none }} ${name}`);
    const failing = await fleet.rows("exec", 'test "$(hostname)" != pi-3');
    expect(failing.map(({ host, result }) => `${host} ${result}`)).toEqual(
      fleet.boards.map(({ name }) => `${name} ${name === "pi-3" ? "failed" : "done"}`),
    );
  });

  it("names board, bound and value of a wrong setting before anything is done", async () => {
    fleet.hostVars = { "pi-2": { maintenance_window: "2am-5am" } };
    const { code, stderr } = await fleet.run("deploy", shop.bundle({ version: "1.1.0" }));
    fleet.hostVars = {};
    expect(code).toBe(1);
    expect(stderr).toMatch(/pi-2 +maintenance_window must be empty or HHMM-HHMM, as 0200-0500, got '2am-5am'/);
    expect(stderr).not.toContain("Canary");
  });

  it("waits for the maintenance window, unless told not to", async () => {
    const hour = Number(canary.sh("date +%H"));
    const later = `${String((hour + 2) % 24).padStart(2, "0")}00-${String((hour + 3) % 24).padStart(2, "0")}00`;
    const bundle = shop.bundle({ version: "1.1.0" });
    fleet.vars["maintenance_window"] = later;
    const waiting = await fleet.run("deploy", bundle);
    expect(waiting.code, waiting.stdout + waiting.stderr).toBe(75);
    expect(waiting.stdout).toMatch(new RegExp(`pi-1 +1.0.0 +waiting +maintenance window ${later}`));
    expect(waiting.stdout).toMatch(/pi-2 +left alone/);
    const now = await fleet.run("--now", "deploy", bundle);
    fleet.vars["maintenance_window"] = "";
    expect(now.code, now.stdout + now.stderr).toBe(0);
    expect(fleet.versions()).toEqual(fleet.boards.map(() => "1.1.0"));
  });

  it("rolls the whole fleet back with one command", async () => {
    const dry = await fleet.run("--dry-run", "rollback");
    expect(dry.stdout).toMatch(/pi-4 +1.1.0 +planned +1.1.0 -> 1.0.0/);
    const { code, stdout, seconds } = await fleet.run("rollback");
    console.log(stdout);
    keepSeconds("rollback of 4 boards at once, each examined", seconds);
    expect(code, stdout).toBe(0);
    expect(fleet.versions()).toEqual(fleet.boards.map(() => "1.0.0"));
  });

  it("brings configuration of fleet, group and board with a secret from a vault, after a diff", async () => {
    const password = fleet.file("vault-password", "open sesame\n", 0o600);
    fleet.vaultPasswordFile = password;
    mkdirSync(join(fleet.folder, "group_vars/pipit"), { recursive: true });
    const vault = fleet.file("group_vars/pipit/vault.yml", `pipit_secrets:\n  broker_password: "${PASSWORD}"\n`);
    execFileSync("ansible-vault", ["encrypt", "--vault-password-file", password, vault], { stdio: "ignore" });
    expect(readFileSync(vault, "utf8")).toMatch(/^\$ANSIBLE_VAULT/);
    fleet.vars["pipit_config"] = { broker: { url: broker, username: "pipit" }, answer: { max_tokens: 64 } };
    fleet.vars["pipit_config_group"] = { answer: { max_tokens: 96 } };
    fleet.hostVars = { "pi-2": { pipit_config_host: { answer: { max_tokens: 48 } } } };

    const dry = await fleet.run("--dry-run", "config");
    expect(dry.code, dry.stdout + dry.stderr).toBe(0);
    expect(dry.stderr).toContain(`+  url: ${broker}`);
    expect(dry.stderr).not.toContain(PASSWORD);
    expect(dry.stderr).not.toContain("pipit-update/settings");
    expect(dry.stdout).toMatch(/pi-1 .*planned +pipit.yaml, broker_password would change/);
    expect(canary.sh("cat /etc/pipit/pipit.yaml")).not.toContain(broker);

    const { code, stdout, stderr, seconds } = await fleet.run("config");
    console.log(stdout);
    keepSeconds("configuration with a secret from a vault to 4 boards, each tried", seconds);
    expect(code, stdout + stderr).toBe(0);
    expect(canary.sh("grep max_tokens /etc/pipit/pipit.yaml").trim()).toBe("max_tokens: 96");
    expect(relay?.sh("grep max_tokens /etc/pipit/pipit.yaml").trim()).toBe("max_tokens: 48");
    expect(canary.sh("stat -c '%a %U' /etc/credstore/pipit.broker_password").trim()).toBe("600 root");
    expect(canary.sh("journalctl -o cat; ls -R /var/lib/pipit-update; cat /etc/pipit/*")).not.toContain(PASSWORD);

    const again = await fleet.run("config");
    expect(again.stdout).toMatch(/pi-3 .*current +in force already/);
    expect((await fleet.run("--dry-run", "config")).stdout).toMatch(/pi-3 .*current +in force already/);
  });

  it("sees health on the shared broker: every board, and one that is lost", async () => {
    const passwordFile = fleet.file("broker-password", PASSWORD, 0o600);
    const env = { PIPIT_BROKER_USERNAME: "pipit", PIPIT_BROKER_PASSWORD_FILE: passwordFile };
    Object.assign(process.env, env);
    const seen = await fleet.run("status", "--mqtt", broker);
    console.log(seen.stdout);
    expect(seen.code, seen.stdout + seen.stderr).toBe(0);
    neighbours[0]?.plug(false);
    neighbours[1]?.sh("systemctl stop pipit");
    const ill = await fleet.rows("status", "--mqtt", broker);
    neighbours[0]?.plug(true);
    neighbours[1]?.sh("systemctl start pipit");
    for (const name of Object.keys(env)) Reflect.deleteProperty(process.env, name);
    const byName = Object.fromEntries(ill.map((row) => [row.host, row]));
    expect(byName["pi-1"]).toMatchObject({ healthy: true, on_bus: "online" });
    expect(byName["pi-3"]).toMatchObject({ healthy: false, service: "unreachable" });
    expect(byName["pi-4"]).toMatchObject({ healthy: false, service: "inactive", on_bus: "offline" });
  });

  it.each([
    ["is wrong", { answer: { max_tokens: -1 } }, "refused", /answer.max_tokens/],
    [
      "points to a broker that is not there",
      { broker: { url: "mqtt://127.0.0.1:9" } },
      "reverted",
      /broker|ECONNREFUSED/,
    ],
  ])("stops at the canary when the configuration %s, and puts the old one back", async (_what, change, result, why) => {
    const before = { ...fleet.vars };
    const config = canary.sh("cat /etc/pipit/pipit.yaml");
    fleet.vars["pipit_config_group"] = change;
    const { code, stdout } = await fleet.run("config");
    fleet.vars = before;
    console.log(stdout);
    expect(code, stdout).toBe(1);
    expect(stdout).toMatch(new RegExp(`pi-1 .*${result}`));
    expect(stdout).toMatch(why);
    expect(stdout).toMatch(/pi-2 +left alone/);
    expect(canary.sh("cat /etc/pipit/pipit.yaml")).toBe(config);
    expect(canary.sh("pipitctl exam")).toContain('"passed"');
  });

  it.each([
    ["answers nonsense", (file: string) => zero(file), [], /score 0\.|score 0/],
    ["cannot be loaded", (file: string) => Promise.resolve(truncateSync(file, 20_000_000)), [], /does not load/],
    [
      "is slower than asked for",
      (file: string) => pad(file, 64),
      ["--min-speed", "100000"],
      /tokens\/s, 100000 wanted/,
    ],
  ])("takes a model back that %s, and brings it to nobody else", async (what, change, options, why) => {
    const { file, sha256 } = await variant(`${what.replaceAll(" ", "-")}.gguf`, change);
    const exam = fleet.file("exam.jsonl", EXAM.map((line) => JSON.stringify(line)).join("\n"));
    const before = canary.sh("cat /etc/pipit/pipit.env /etc/systemd/system/pipit.service.d/10-memory.conf");
    const { code, stdout, seconds } = await fleet.run("models", file, exam, ...options);
    console.log(stdout);
    keepSeconds(`model that ${what}: taken back at the canary, the run has ended`, seconds);
    expect(code, stdout).toBe(1);
    expect(stdout).toMatch(/pi-1 .*reverted/);
    expect(stdout).toMatch(why);
    expect(canary.sh("cat /etc/pipit/pipit.env /etc/systemd/system/pipit.service.d/10-memory.conf")).toBe(before);
    expect(canary.sh("tail -n 1 /var/lib/pipit-update/history.jsonl")).toMatch(
      new RegExp(`"kind":"model".*${sha256}.*"reverted"`),
    );
    expect(canary.sh("pipitctl exam")).toContain('"passed"');
    for (const board of fleet.boards) expect(board.sh("ls /var/lib/pipit/models")).not.toContain(sha256);
  });

  it("promotes a good model: pushed once for the site within the bandwidth limit, served to the neighbours by the relay", async () => {
    const { file, sha256 } = await variant("better model.gguf", (path) => pad(path, 128));
    const exam = fleet.file("exam.jsonl", EXAM.map((line) => JSON.stringify(line)).join("\n"));
    const limitKib = 16_384;
    fleet.vars["bandwidth_limit"] = limitKib;
    for (const board of others)
      board && (fleet.hostVars[board.name] = { ...fleet.hostVars[board.name], site_relay: relay?.name });
    const { code, stdout, stderr, seconds } = await fleet.run(
      "models",
      file,
      exam,
      "--min-score",
      "0.9",
      "--min-speed",
      "1",
    );
    console.log(stdout);
    keepSeconds("model of 94 MiB to 4 boards, each examined, over a relay, 16 MiB/s", seconds);
    fleet.vars["bandwidth_limit"] = 0;
    expect(code, stdout + stderr).toBe(0);
    expect(stderr.match(/Push the file/g)).toHaveLength(2);
    const pushSeconds = statSync(file).size / 1024 / limitKib;
    expect(secondsBetween(stderr, "pi-1 +Push the file", "pi-1 +Switch")).toBeGreaterThanOrEqual(
      Math.floor(pushSeconds) - 1,
    );
    const served = relay?.sh("journalctl -u pipit-relay -o cat") ?? "";
    for (const { address } of neighbours) expect(served).toMatch(new RegExp(`${address}.*GET /model.gguf.*200`));
    expect(relay?.sh("systemctl list-units --all --plain --no-legend pipit-relay.service").trim()).toBe("");
    for (const board of fleet.boards) {
      expect(board.sh("cat /etc/pipit/pipit.env")).toContain(sha256);
      expect(board.sh("tail -n 1 /var/lib/pipit-update/history.jsonl")).toMatch(/"kind":"model".*"committed"/);
      expect(board.try("ls /var/lib/pipit-upload/*").code).not.toBe(0);
    }
    const again = await fleet.run("models", file, exam);
    expect(again.code, again.stdout).toBe(0);
    expect(again.stdout).toMatch(/pi-4 .*current/);
    // What the exam was asked with does not outlive its trial.
    for (const board of fleet.boards) expect(board.try("ls /var/lib/pipit-update/check.env").code).not.toBe(0);
  });

  it("collects logs and verdicts of every board, without secrets", async () => {
    const { code, stdout } = await fleet.run("collect", "found");
    expect(code, stdout).toBe(0);
    for (const { name } of fleet.boards) {
      const at = (file: string) => join(fleet.folder, "found", name, file);
      for (const file of ["status.json", "journal.log", "pipit.yaml", "history.jsonl"])
        expect(existsSync(at(file))).toBe(true);
      expect(readFileSync(at("history.jsonl"), "utf8")).toContain('"kind":"model"');
      expect(readFileSync(at("journal.log"), "utf8")).not.toContain(PASSWORD);
    }
  });

  /** A changed copy of the model of this machine. */
  async function variant(
    name: string,
    change: (file: string) => Promise<void>,
  ): Promise<{ file: string; sha256: string }> {
    const file = join(fleet.folder, name);
    copyFileSync(modelFile() ?? "", file);
    await change(file);
    return { file, sha256: createHash("sha256").update(readFileSync(file)).digest("hex") };
  }
});

/** The same model with another hash: bytes behind the last tensor. */
function pad(file: string, bytes: number): Promise<void> {
  appendFileSync(file, Buffer.alloc(bytes));
  return Promise.resolve();
}

/** Loads and says something, but two fifths of its weights are nothing. With the last tensors it would say nothing at all. */
async function zero(file: string): Promise<void> {
  const handle = await open(file, "r+");
  const { size } = await handle.stat();
  const bytes = Math.floor(size * 0.4);
  await handle.write(Buffer.alloc(bytes), 0, bytes, Math.floor(size / 2));
  await handle.close();
}

/** Between two lines of the progress, each of which begins with the time. */
function secondsBetween(progress: string, from: string, to: string): number {
  const at = (what: string) => {
    const [, hours, minutes, seconds] = new RegExp(`^(\\d\\d):(\\d\\d):(\\d\\d)  ${what}`, "m").exec(progress) ?? [];
    return Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  };
  return at(to) - at(from);
}
