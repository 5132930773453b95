// One board from the first installation to the purge, with the real model: install, answer, upgrade under load, bad releases,
// faults, removal. The steps build on each other, as they do on a board.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keepBoardFigure } from "./figures.ts";
import { FULL } from "./level.ts";
import { Machine } from "./machine.ts";
import { whyNoBoards } from "./needs.ts";
import { addToUnit, modelFile, MODEL_SHA256, ReleaseShop } from "./release.ts";

const reason = whyNoBoards();
const board = new Machine("board", 10);
const REFUSED = 1;
const REVERTED = 3;

interface Status {
  version: string;
  service: string;
  phase: string;
  pending: boolean;
  detail: string;
  restarts: number;
}
const status = (): Status => JSON.parse(board.sh("pipitctl status --json")) as Status;
const examPasses = () => board.try("pipitctl exam").code === 0;

describe.skipIf(reason !== undefined)(`one board${reason ? ` (skipped: ${reason})` : ""}`, () => {
  let shop: ReleaseShop;

  beforeAll(async () => {
    shop = new ReleaseShop();
    await board.boot();
  }, 600_000);

  afterAll(async () => {
    await board.destroy();
    shop.remove();
  }, 60_000);

  it("answers over MQTT within 90 s of a copied release, offline, without a question asked", () => {
    board.put(shop.bundle({ version: "1.0.0" }), "root/pipit.tar.xz");
    board.put(modelFile() ?? "", `root/${MODEL_SHA256}.gguf`);
    const startedMs = performance.now();
    board.sh("cd /root && tar -xJf pipit.tar.xz && cd release && ./install.sh </dev/null");
    const answer = board.sh("pipit ask 'What is the capital of France?'");
    const seconds = (performance.now() - startedMs) / 1000;
    keepBoardFigure("copied release and model to a first answer over MQTT, offline", seconds, "s", "<= 90");
    expect(answer).toContain("Paris");
    expect(seconds).toBeLessThan(90);
    expect(status()).toMatchObject({ version: "1.0.0", service: "active", pending: false });
  });

  it("runs as its own user under every directive, at an exposure of 1.5 at most, with a memory limit from its self-test", () => {
    expect(board.sh("ps -o user= -p $(systemctl show -p MainPID --value pipit)").trim()).toBe("pipit");
    for (const unit of ["pipit.service", "pipit-check@exam.service"]) {
      const { code, stdout } = board.try(`systemd-analyze security --threshold=15 --no-pager ${unit}`);
      expect(code, unit).toBe(0);
      const exposure = Number(/Overall exposure level for .*: ([0-9.]+)/.exec(stdout)?.[1]);
      keepBoardFigure(`exposure of ${unit}`, exposure, "of 10", "<= 1.5");
    }
    const units = "pipit.service pipit-update.service pipit-revert.service pipit-check@exam.service";
    expect(board.try(`systemd-analyze verify --man=no ${units} 2>&1`)).toMatchObject({ code: 0, stdout: "" });
    expect(board.sh("systemctl show -p MemoryMax --value pipit").trim()).toMatch(/^[1-9][0-9]+$/);
    expect(board.sh("systemctl show -p StatusText --value pipit")).toContain("smollm2");
  });

  it("may be installed again: nothing changes, nothing stops working", () => {
    board.sh("cp /etc/pipit/pipit.yaml /root/before.yaml; printf '\\n# mine\\n' >>/etc/pipit/pipit.yaml");
    board.sh("cd /root/release && ./install.sh </dev/null");
    expect(board.sh("tail -n 1 /etc/pipit/pipit.yaml").trim()).toBe("# mine");
    expect(examPasses()).toBe(true);
  });

  it("reads its configuration again on reload, and keeps the old one when the new one is wrong", async () => {
    const ask = "PIPIT_CONFIG=/root/before.yaml pipit ask 'What is the capital of France?'";
    board.sh("printf 'nonsense: 1\\n' >/etc/pipit/pipit.yaml; systemctl reload pipit");
    await board.until("the refusal is logged", "journalctl -u pipit -o cat | grep -q 'new configuration is wrong'");
    const answer = board.try(ask);
    board.sh("cp /root/before.yaml /etc/pipit/pipit.yaml; systemctl reload pipit");
    expect(answer.stdout).toContain("Paris");
    expect(examPasses()).toBe(true);
  });

  it("loses no question in an upgrade under load, and is away for 15 s at most", async () => {
    board.put(shop.bundle({ version: "1.1.0" }), "root/next.tar.xz");
    const asker = board.start(
      "i=0; while [ ! -e /root/enough ]; do i=$((i + 1)); s=$(date +%s%N); pipit ask --deadline-ms 60000 --json 'What is the capital of France?' >/root/out.$i || echo $i >>/root/lost; e=$(date +%s%N); echo $(((e - s) / 1000000)) >>/root/times; done; echo $i",
    );
    const update = board.try("pipitctl update /root/next.tar.xz");
    board.sh("touch /root/enough");
    console.log(`${(await asker).stdout.trim()} questions asked during the upgrade`);
    expect(update.code, update.stderr).toBe(0);
    expect(board.try("cat /root/lost").stdout).toBe("");
    const longestMs = Math.max(...board.sh("cat /root/times").trim().split("\n").map(Number));
    keepBoardFigure(
      "questions asked one after the other during an upgrade: none lost, longest wait",
      longestMs / 1000,
      "s",
      "<= 15",
    );
    expect(longestMs).toBeLessThan(15_000);
    expect(status()).toMatchObject({ version: "1.1.0", service: "active", pending: false, phase: "committed" });
  });

  const bad: [
    what: string,
    code: number,
    version: string,
    change?: (tree: string) => void,
    tamper?: (tree: string) => void,
  ][] = [
    [
      "has one byte changed",
      REFUSED,
      "1.2.3",
      undefined,
      (tree) => shop.edit(tree, "app/dist/main.js", (text) => text.replace("pipit", "pipiT")),
    ],
    [
      "fails its self-test",
      REFUSED,
      "1.3.0",
      (tree) => shop.edit(tree, "app/dist/commands/self-test.js", () => "throw new Error('no such instruction')\n"),
    ],
    ["does not start", REVERTED, "1.4.0", (tree) => addToUnit(shop, tree, "ExecStartPre=/bin/false")],
    [
      "starts and answers wrong",
      REVERTED,
      "1.5.0",
      (tree) => addToUnit(shop, tree, "Environment=PIPIT_ANSWER_MAX_TOKENS=1"),
    ],
  ];
  // A minute and a half of eight slow exams.
  if (FULL)
    bad.push([
      "is too slow",
      REVERTED,
      "1.6.0",
      // The child's event loop is kept busy for most of the time: the same answers, several times slower.
      (tree) =>
        shop.edit(
          tree,
          "app/dist/engine/child.js",
          (text) => `setInterval(() => { const end = Date.now() + 60; while (Date.now() < end); }, 1);\n${text}`,
        ),
    ]);
  it.each(bad)("stays on the old release, healthy, when the new one %s", (what, code, version, change, tamper) => {
    board.put(shop.bundle({ version, ...(change && { change }), ...(tamper && { tamper }) }), "root/bad.tar.xz");
    const startedMs = performance.now();
    const update = board.try("pipitctl update /root/bad.tar.xz");
    console.log(update.stderr.trim().split("\n").at(-1));
    const end = code === REVERTED ? "old release back and healthy" : "refused, nothing changed";
    keepBoardFigure(`a release that ${what}: ${end}`, (performance.now() - startedMs) / 1000, "s", "<= 180");
    expect(update.code, update.stderr).toBe(code);
    expect(performance.now() - startedMs).toBeLessThan(180_000);
    expect(status()).toMatchObject({ version: "1.1.0", service: "active", pending: false });
    expect(examPasses()).toBe(true);
  });

  it("goes back to the release before on demand", () => {
    board.sh("pipitctl rollback");
    expect(status()).toMatchObject({ version: "1.0.0", service: "active" });
    expect(examPasses()).toBe(true);
  });

  it("refuses a journal of a later format to an older release, and keeps it for the one that can read it", async () => {
    const next = (tree: string) => {
      shop.edit(tree, "app/dist/journal/segment.js", (text) =>
        text.replace(/FORMAT_VERSION = 1\b/, "FORMAT_VERSION = 2"),
      );
      shop.edit(tree, "release.env", (text) => text.replace(/^SCHEMA=1$/m, "SCHEMA=2"));
    };
    board.put(shop.bundle({ version: "2.0.0", change: next }), "root/next.tar.xz");
    board.sh("pipitctl update /root/next.tar.xz");
    board.sh("pipit ask 'What is the capital of France?'");

    const refused = board.try("pipitctl rollback");
    expect([refused.code, refused.stderr]).toEqual([REFUSED, expect.stringContaining("--put-state-aside")]);
    expect(status()).toMatchObject({ version: "2.0.0", service: "active" });

    // The older program itself, as if somebody had started it on the newer journal by hand.
    const content = () => board.sh("cd /var/lib/pipit/journal && sha256sum *");
    board.sh("systemctl stop pipit");
    const before = content();
    const older = board.try(
      "runuser -u pipit -- env PIPIT_STATE_DIR=/var/lib/pipit timeout 30 /opt/pipit/releases/1.0.0/bin/pipit run 2>&1",
    );
    expect([older.code, older.stdout]).toEqual([
      78,
      expect.stringContaining("written by a later version of pipit (format 2"),
    ]);
    expect(content()).toBe(before);
    board.sh("systemctl start pipit");
    expect(examPasses()).toBe(true);

    board.sh("pipitctl rollback --put-state-aside");
    expect(status()).toMatchObject({ version: "1.0.0", service: "active", pending: false });
    expect(examPasses()).toBe(true);
    expect(board.sh("ls /var/lib/pipit")).toContain("journal.schema-2");
  });

  it("leaves no file, user, unit or process after a purge", () => {
    board.sh("/opt/pipit/current/uninstall.sh --purge");
    expect(board.leftovers()).toEqual({ files: "", user: "", units: "", processes: "" });
  });
});
