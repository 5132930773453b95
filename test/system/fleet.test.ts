// One command for a whole fleet: a good release reaches all, a bad one stops at the canary, a board that is lost in the middle
// is reported and finished by a second run. Five boards; the full level takes ten and every bad release.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Fleet, keepSeconds } from "./fleet.ts";
import { FULL } from "./level.ts";
import { whyNoBoards } from "./needs.ts";
import { addToUnit, ReleaseShop, type Variant } from "./release.ts";

const BOARDS = Number(process.env["PIPIT_FLEET_BOARDS"] ?? (FULL ? 10 : 5));
const reason = whyNoBoards("rsync");
/** A roll-out and a half on two cores. */
const LONG_MS = BOARDS * 90_000 + 300_000;

describe.skipIf(reason !== undefined)(`a fleet of ${BOARDS}${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const fleet = new Fleet(BOARDS);
  let shop: ReleaseShop;
  const all = (value: string) => fleet.boards.map(() => value);

  beforeAll(async () => {
    shop = new ReleaseShop();
    await fleet.start(shop);
  }, 600_000);

  afterAll(async () => {
    await fleet.remove();
    shop.remove();
  }, 120_000);

  it("says what a deployment would do, and does nothing", async () => {
    const { code, stdout } = await fleet.run("--dry-run", "deploy", shop.bundle({ version: "1.1.0" }));
    expect(code, stdout).toBe(0);
    for (const { name } of fleet.boards) expect(stdout).toMatch(new RegExp(`${name} +1.0.0 +planned +1.0.0 -> 1.1.0`));
    expect(fleet.versions()).toEqual(all("1.0.0"));
  });

  it(
    "updates every board with one command, and tells the steps",
    async () => {
      const { code, stdout, stderr, seconds } = await fleet.run("deploy", shop.bundle({ version: "1.1.0" }));
      console.log(stdout);
      keepSeconds(`good release to ${BOARDS} boards with one command`, seconds, BOARDS === 10 ? "<= 600" : undefined);
      expect(code, stdout + stderr).toBe(0);
      expect(fleet.versions()).toEqual(all("1.1.0"));
      expect(seconds).toBeLessThan(600);
      for (const step of ["Canary", "Leave it to its work", "Waves", "Push the file", "switch, gate"]) {
        expect(stderr).toContain(step);
      }
    },
    LONG_MS,
  );

  const bad: [what: string, result: string, variant: Omit<Variant, "version">, ci: boolean][] = [
    ["answers wrong", "reverted", { change: unit("Environment=PIPIT_ANSWER_MAX_TOKENS=1") }, true],
    ["does not start", "reverted", { change: unit("ExecStartPre=/bin/false") }, false],
    ["is too slow", "reverted", { change: (tree) => shop.edit(tree, "app/dist/engine/child.js", busy) }, false],
    ["is unsigned", "refused", { tamper: (tree) => shop.edit(tree, "MANIFEST.sig", () => "") }, false],
    [
      "was changed by one byte",
      "refused",
      { tamper: (tree) => shop.edit(tree, "app/package.json", (text) => text.replace("{", "{ ")) },
      false,
    ],
  ];
  it.each(bad.filter(([, , , ci]) => ci || FULL))(
    "stops at the canary when the release %s: it is back within 180 s, the others untouched",
    async (what, result, variant) => {
      const { code, stdout, stderr, seconds } = await fleet.run(
        "deploy",
        shop.bundle({ version: "1.2.0", ...variant }),
      );
      console.log(stdout);
      keepSeconds(`release that ${what}: ${result} at the canary of ${BOARDS}, the run has ended`, seconds, "<= 180");
      expect(code, stdout).toBe(1);
      expect(stdout).toMatch(new RegExp(`pi-1 +1.1.0 +${result} +${result}: `));
      expect(stderr).toContain(`stopped: 1 of ${BOARDS} boards (pi-1) ${result}, 0 allowed`);
      expect(seconds).toBeLessThan(180);
      expect(fleet.canary.try("pipitctl exam").code).toBe(0);
      for (const board of fleet.others) {
        expect(stdout).toMatch(new RegExp(`${board.name} +left alone`));
        expect(board.sh("ls /opt/pipit/releases")).not.toContain("1.2.0");
      }
      expect(fleet.versions()).toEqual(all("1.1.0"));
    },
  );

  it(
    "reports a board that is lost in the middle of a wave, goes on within the budget, and finishes it in a second run",
    async () => {
      const lost = fleet.others[0] ?? fleet.canary;
      const bundle = shop.bundle({ version: "1.3.0" });
      const running = fleet.run("deploy", bundle);
      const begun = "grep -q 'phase=\\(staging\\|verifying\\)' /var/lib/pipit-update/phase";
      await lost.until("its update has begun", begun, 300_000);
      await lost.powerCut();
      const first = await running;
      console.log(first.stdout);
      keepSeconds(`1 of ${BOARDS} boards loses its power in a wave: the others are updated`, first.seconds);
      expect(first.code, first.stdout + first.stderr).toBe(75);
      expect(first.stdout).toMatch(new RegExp(`${lost.name} .*lost`));
      const rest = fleet.boards.filter((board) => board !== lost);
      expect(fleet.versions(rest)).toEqual(rest.map(() => "1.3.0"));
      await lost.boot();
      expect(fleet.versions([lost])).toEqual(["1.1.0"]);
      await lost.until("it is back at work", "systemctl is-active --quiet ssh pipit", 120_000);
      const second = await fleet.run("deploy", bundle);
      console.log(second.stdout);
      keepSeconds("second run after it, which updates the lost board", second.seconds);
      expect(second.code, second.stdout + second.stderr).toBe(0);
      expect(second.stdout).toMatch(new RegExp(`${lost.name} +1.1.0 +updated`));
      expect(fleet.versions()).toEqual(all("1.3.0"));
    },
    LONG_MS,
  );

  it("shows a table of the fleet, and the same as JSON", async () => {
    const row = (name: string) =>
      new RegExp(`${name} +1.3.0 +smollm2\\S+ +active +online +\\d+\\.\\d +\\S.* MiB +\\d+ +20\\d\\d-`);
    // A board tells what it has answered every 30 s.
    const shown = async () => (await fleet.run("status")).stdout;
    await expect
      .poll(shown, { timeout: 90_000, interval: 2_000 })
      .toSatisfy((table: string) => fleet.boards.every(({ name }) => row(name).test(table)));
    const { code, stdout } = await fleet.run("status");
    console.log(stdout);
    expect(code, stdout).toBe(0);
    const rows = await fleet.rows("status");
    expect(rows.map(({ host, healthy, version }) => [host, healthy, version]).sort()).toEqual(
      fleet.boards.map(({ name }) => [name, true, "1.3.0"]).sort(),
    );
  });

  function unit(lines: string): (tree: string) => void {
    return (tree) => addToUnit(shop, tree, lines);
  }
});

/** Keeps the child's event loop busy most of the time: the same answers, several times slower. */
function busy(text: string): string {
  return `setInterval(() => { const end = Date.now() + 60; while (Date.now() < end); }, 1);\n${text}`;
}
