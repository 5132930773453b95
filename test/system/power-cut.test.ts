// Power cuts at every step of an update: the container is killed and only what had been synced to its disk survives. After
// the next boot the board must stand on the old or on the new release, answer the golden questions, and have no marker left.
// PIPIT_POWER_CUTS sets how many cuts are made: 20 in CI, 60 by hand unless it says otherwise.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { keepBoardFigure } from "./figures.ts";
import { FULL } from "./level.ts";
import { Machine, until } from "./machine.ts";
import { whyNoBoards } from "./needs.ts";
import { addToUnit, ReleaseShop } from "./release.ts";

const reason = whyNoBoards();
const CUTS = Number(process.env["PIPIT_POWER_CUTS"] ?? (FULL ? 60 : 20));
/** Every phase of an update that is committed, and of one that is reverted. */
const GOOD = ["baseline", "arming", "armed", "flipped", "gating", "committing", "committed"];
const BAD = ["flipped", "gating", "reverting", "undone"];
/** Cuts between the phases: milliseconds after the marker is written. */
const BETWEEN = [5, 20, 60, 150, 400, 900, 1600, 2500];

interface Cut {
  to: "2.0.0" | "2.0.1" | "3.0.0";
  at: string;
  afterMs: number;
}
const steps: Cut[] = [
  ...GOOD.map((at): Cut => ({ to: "2.0.0", at, afterMs: 0 })),
  ...BAD.map((at): Cut => ({ to: "3.0.0", at, afterMs: 0 })),
  ...BETWEEN.map((afterMs): Cut => ({ to: "2.0.0", at: "armed", afterMs })),
];
const cuts = Array.from({ length: CUTS }, (_, index): Cut => {
  const step = steps[index % steps.length] as Cut;
  const round = Math.floor(index / steps.length);
  return round === 0 ? step : { ...step, afterMs: step.afterMs + 37 * round };
});

describe.skipIf(reason !== undefined)(`a power cut${reason ? ` (skipped: ${reason})` : ""}`, () => {
  const board = new Machine("cut", 20);
  let shop: ReleaseShop;
  let healthy = 0;

  beforeAll(async () => {
    shop = new ReleaseShop();
    board.takeDisk(shop.disk);
    await board.boot();
    const bad = (tree: string) => addToUnit(shop, tree, "Environment=PIPIT_ANSWER_MAX_TOKENS=1");
    for (const [version, change] of [["2.0.0"], ["2.0.1"], ["3.0.0", bad]] as const) {
      board.put(shop.bundle({ version, ...(change && { change }) }), `root/${version}.tar.xz`);
    }
  }, 600_000);

  afterAll(async () => {
    const what = `power cuts at ${cuts.length} points of an update: healthy after the next boot, without a hand`;
    keepBoardFigure(what, healthy, "cuts", `${cuts.length}`);
    await board.destroy();
    shop.remove();
  }, 60_000);

  it.each(cuts)("at $at + $afterMs ms of an update to $to ends on a healthy release", async ({ to, at, afterMs }) => {
    // After a committed update the same way leads back: what counts is that there is something to switch to.
    const target = to === "2.0.0" && version() === "2.0.0" ? "2.0.1" : to;
    const before = version();
    if (!board.sh("ls /opt/pipit/releases").includes(target)) board.sh(`pipitctl stage /root/${target}.tar.xz`);
    board.sh("sync");
    // Most phases last milliseconds: the update is held there; the drop-in lies in memory and goes with the power.
    const folder = "/run/systemd/system/pipit-update.service.d";
    const hold = afterMs === 0 ? at : "";
    board.sh(
      `mkdir -p ${folder}; printf '[Service]\\nEnvironment=PIPITCTL_HOLD_AT=${hold}\\n' >${folder}/hold.conf; systemctl daemon-reload`,
    );
    board.sh("rm -f /var/lib/pipit-update/phase");
    const update = board.start(`pipitctl apply ${target}`);
    const kept = join(board.root, "var/lib/pipit-update");
    const reached = () => (hold ? readPhase(kept).startsWith(`phase=${at}\n`) : existsSync(join(kept, "pending")));
    await until(Date.now() + 120_000, `phase ${at}`, reached);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await board.powerCut();
    await update;
    await board.boot();
    await board.until("the service is up", "systemctl is-active --quiet pipit", 120_000);
    await board.until("the golden questions are answered", "pipitctl exam", 60_000);
    expect([before, target]).toContain(version());
    if (to === "3.0.0") expect(version()).toBe(before);
    expect(board.try("ls /var/lib/pipit-update/pending").code).not.toBe(0);
    healthy += 1;
  });

  const version = () => board.sh("sed -n s/^VERSION=//p /opt/pipit/current/release.env").trim();
});

function readPhase(folder: string): string {
  try {
    return readFileSync(join(folder, "phase"), "utf8");
  } catch {
    return "";
  }
}
