// What a board meets in its life, on the booted unit with the real model: a broker that comes late, a stopped child, a blocked
// loop, a crash loop, a wrong configuration, the out-of-memory killer, a full disk. Each ends healthy again without a hand, or
// failed with a status that says why.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keepBoardFigure } from "./figures.ts";
import { FULL } from "./level.ts";
import { Machine, type Outcome } from "./machine.ts";
import { whyNoBoards } from "./needs.ts";
import { ReleaseShop } from "./release.ts";

const reason = whyNoBoards();
/** How long the broker stays away; an hour by hand. */
const LATE_S = Number(process.env["PIPIT_BROKER_LATE_S"] ?? (FULL ? 120 : 10));
/** By hand the unit as it is shipped (60 s); what is tested is the same. */
const WATCHDOG = FULL ? "" : "WatchdogSec=10\\n";
const WATCHDOG_S = FULL ? 60 : 10;
const MIB = 2 ** 20;
/** Together more than the space that the journal's file has already, ext4's preallocation included; one sender may have 48. */
const QUESTIONS = 40;
const QUESTION_BYTES = 4000;

describe.skipIf(reason !== undefined)(`a board in trouble${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const board = new Machine("trouble", 30);
  let shop: ReleaseShop;

  const unit = (property: string) => board.sh(`systemctl show -p ${property} --value pipit`).trim();
  const child = () => board.sh(`pgrep -P ${unit("MainPID")} || true`).trim();
  const log = (since: string) => board.sh(`journalctl --sync; journalctl -u pipit -o cat --since '@${since}'`);
  const now = () => board.sh("date +%s").trim();
  const ask = (deadlineS: number): Promise<Outcome> =>
    board.start(`pipit ask --deadline-ms ${deadlineS * 1000} 'What is the capital of France?'`);
  const answers = (timeoutMs: number) => board.until("it answers", "pipitctl exam", timeoutMs);
  const restarted = (count: number, timeoutMs: number) =>
    board.until(`restart ${count}`, `[ "$(systemctl show -p NRestarts --value pipit)" -ge ${count} ]`, timeoutMs);
  /** A drop-in of this boot only, in force from the next start of the service. */
  const dropIn = (lines: string) => {
    const folder = "/run/systemd/system/pipit.service.d";
    board.sh(
      `mkdir -p ${folder}; printf '[Service]\\n${WATCHDOG}${lines}\\n' >${folder}/fault.conf; systemctl daemon-reload`,
    );
  };
  const keepSeconds = (what: string, sinceMs: number, target?: string) =>
    keepBoardFigure(what, (performance.now() - sinceMs) / 1000, "s", target);
  const startClean = async () => {
    dropIn("");
    board.sh("systemctl restart pipit");
    await answers(60_000);
  };

  beforeAll(async () => {
    shop = new ReleaseShop();
    board.takeDisk(shop.disk);
    await board.boot();
  }, 600_000);

  afterAll(async () => {
    await board.destroy();
    shop.remove();
  }, 60_000);

  it("has the memory limit of its self-test in force", () => {
    const limit = Number(unit("MemoryMax"));
    expect(limit).toBeGreaterThan(200 * MIB);
    const inForce = board.memoryLimit("pipit.service");
    console.log(
      `MemoryMax ${(limit / MIB).toFixed(0)} MiB, in the kernel ${inForce ?? "not: no memory controller here"}`,
    );
    if (inForce !== undefined) expect(inForce).toBe(limit);
  });

  it(
    `takes a broker that comes ${LATE_S} s late for no failure`,
    async () => {
      board.sh("systemctl stop mosquitto; systemctl restart pipit");
      await new Promise((resolve) => setTimeout(resolve, LATE_S * 1000));
      expect(unit("ActiveState")).toBe("active");
      expect(unit("StatusText")).toContain("waiting for the broker");
      board.sh("systemctl start mosquitto");
      const cameMs = performance.now();
      await answers(90_000);
      keepSeconds(
        `broker that comes ${LATE_S} s late: golden questions answered after it came, no restart`,
        cameMs,
        "<= 60",
      );
      expect(unit("NRestarts")).toBe("0");
    },
    (LATE_S + 300) * 1000,
  );

  it("is restarted by the watchdog when its inference child is stopped, and answers the question that hung", async () => {
    // Longer than the minute that a step may take, so that the question outlives its first try.
    dropIn("Environment=PIPIT_ANSWER_DEADLINE_MS=300000");
    board.sh("systemctl restart pipit");
    await answers(60_000);
    const since = now();
    board.sh(`kill -STOP ${child()}`);
    const stoppedMs = performance.now();
    const asked = ask(240);
    await restarted(1, 200_000);
    keepSeconds(`inference child stopped (SIGSTOP), WatchdogSec=${WATCHDOG_S}: restarted by the watchdog`, stoppedMs);
    const said = log(since);
    expect(said).toContain("watchdog not fed: engine: no step of");
    expect(said).toContain("Watchdog timeout");
    expect(await asked).toMatchObject({ code: 0, stdout: expect.stringContaining("Paris") });
    keepSeconds("the question that hung there: answered after its child was stopped", stoppedMs);
  });

  it("is restarted by the watchdog when its event loop is blocked", async () => {
    board.sh(`echo 'process.on("SIGUSR2", () => { for (;;); });' >/opt/block.mjs`);
    dropIn("Environment=NODE_OPTIONS=--import=/opt/block.mjs");
    board.sh("systemctl restart pipit");
    await answers(60_000);
    const since = now();
    board.sh(`kill -USR2 ${unit("MainPID")}`);
    const blockedMs = performance.now();
    await restarted(1, 120_000);
    await answers(60_000);
    keepSeconds(`event loop blocked, WatchdogSec=${WATCHDOG_S}: restarted, golden questions answered`, blockedMs);
    expect(log(since)).toContain("Watchdog timeout");
  });

  it("spaces the restarts of a crash loop, says why, and is well again when the cause is gone", async () => {
    board.sh(`echo 'setTimeout(() => { throw new Error("made to crash"); }, 300);' >/opt/crash.mjs`);
    dropIn("Environment=NODE_OPTIONS=--import=/opt/crash.mjs");
    const since = now();
    board.try("systemctl restart pipit");
    await restarted(4, 90_000);
    const said = log(since);
    expect(said).toContain("made to crash");
    expect(said).toMatch(/restart 3: waiting \d+ s/);
    dropIn("");
    const goneMs = performance.now();
    await answers(120_000);
    keepSeconds("crash loop of four restarts: golden questions answered after its cause is gone", goneMs);
  });

  it("fails for good, with the field's name, on a wrong configuration", async () => {
    const since = now();
    board.sh("cp /etc/pipit/pipit.yaml /root/good.yaml; printf 'broker:\\n  urll: mqtt://x\\n' >/etc/pipit/pipit.yaml");
    expect(board.try("systemctl restart pipit").code).not.toBe(0);
    expect([unit("ActiveState"), unit("ExecMainStatus")]).toEqual(["failed", "78"]);
    expect(log(since)).toMatch(/broker\.urll/);
    board.sh("cp /root/good.yaml /etc/pipit/pipit.yaml; systemctl start pipit");
    await answers(60_000);
  });

  it("loses one try of a question, not the service, to the out-of-memory killer", async () => {
    await startClean();
    const group = board.unitGroup("pipit.service");
    if (group === undefined) return console.log("not shown: this machine gives containers no memory controller");
    const [main, victim] = [unit("MainPID"), child()];
    // A neighbour in the same group that takes what the limit leaves, bit by bit, so that the kernel has time to free what the child
    // had; it picks the child, which offers itself. Once the child is gone it may pick the neighbour, which is not our concern.
    const bits = Math.floor((Number(unit("MemoryMax")) - 160 * MIB) / (4 * MIB));
    const hog = `import time; b = [time.sleep(0.02) or bytearray(${4 * MIB}) for _ in range(${bits})]; time.sleep(5)`;
    const since = now();
    const asked = ask(120);
    const { code: hogCode } = await board.start(`echo $$ >${group}/cgroup.procs && exec python3 -c '${hog}'`);
    const freeMs = performance.now();
    // Its second try is answered, or refused by name while the neighbour leaves no room for the model.
    const { code, stdout, stderr } = await asked;
    console.log(`out of memory: neighbour ${hogCode === 0 ? "lived" : "died too"}; exit ${code}, ${stdout}${stderr}`);
    if (code === 0) expect(stdout).toContain("Paris");
    else expect(stderr).toMatch(/model_unavailable/);
    await answers(120_000);
    keepSeconds(
      "inference child killed for memory: golden questions answered after there is room again, no restart",
      freeMs,
    );
    expect(child()).not.toBe(victim);
    expect(log(since)).toContain("killed by SIGKILL");
    expect([unit("MainPID"), unit("NRestarts")]).toEqual([main, "0"]);
  });

  it("waits for space on a full disk, says so, refuses updates, and answers what was asked meanwhile", async () => {
    await startClean();
    board.put(shop.bundle({ version: "1.1.0" }), "root/next.tar.xz");
    board.try("fallocate -l $(df -B1 --output=avail / | tail -n 1) /filler; cat /dev/zero >/filler2");
    const update = board.try("pipitctl update /root/next.tar.xz");
    expect([update.code, update.stderr]).toEqual([1, expect.stringMatching(/free|disk full/)]);
    // Enough questions for the space that the journal's file already has, and one more.
    const replied = board.start(`timeout 200 mosquitto_sub -q 1 -t pipit/trouble/answer -C ${QUESTIONS}`);
    board.sh(
      `pad=$(head -c ${QUESTION_BYTES} /dev/zero | tr '\\0' x); i=0; while [ $i -lt ${QUESTIONS} ]; do i=$((i + 1)); echo "{\\"id\\":\\"full-$i\\",\\"text\\":\\"Say yes.\\",\\"max_tokens\\":1,\\"padding\\":\\"$pad\\"}"; done | mosquitto_pub -q 1 -t pipit/trouble/ask -l`,
    );
    await board.until(
      "its status says that it cannot write",
      "systemctl show -p StatusText --value pipit | grep -q 'cannot be written'",
    );
    expect([unit("ActiveState"), unit("NRestarts")]).toEqual(["active", "0"]);
    board.sh("rm /filler /filler2");
    const spaceMs = performance.now();
    const replies = (await replied).stdout.trim().split("\n");
    keepSeconds(`full disk: all ${QUESTIONS} questions that waited answered after there is space`, spaceMs);
    const ids = replies.map((line) => (JSON.parse(line) as { id: string; status: string }).id);
    expect(new Set(ids).size).toBe(QUESTIONS);
    expect([unit("ActiveState"), unit("NRestarts")]).toEqual(["active", "0"]);
    expect(unit("StatusText")).not.toContain("cannot be written");
  });
});
