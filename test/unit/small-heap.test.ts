// In a process of its own, as built: what a flag does to a heap shows only there.
import { execFileSync } from "node:child_process";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";

const MIB = 2 ** 20;
const SMALL_HEAP = pathToFileURL("dist/small-heap.js").href;

/** Holds on to enough young objects for the young generation to grow, and tells the most it had. */
const PROGRAM = `
  import { getHeapSpaceStatistics } from "node:v8";
  let most = 0;
  let kept = [];
  for (let turn = 0; turn < 1_000_000; turn++) {
    kept.push({ turn, more: [turn] });
    if (kept.length > 20_000) kept = kept.slice(10_000);
    if (turn % 1_000 > 0) continue;
    most = Math.max(most, getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space").space_size);
  }
  console.log(most);
`;

function mostYoungBytes(before: string): number {
  return Number(execFileSync(process.execPath, ["--input-type=module", "-e", before + PROGRAM], { encoding: "utf8" }));
}

test("the young generation of a small heap does not grow, which it does by itself", () => {
  const small = `import { keepHeapSmall } from ${JSON.stringify(SMALL_HEAP)}; keepHeapSmall();`;
  expect(mostYoungBytes(small)).toBeLessThanOrEqual(4 * MIB);
  expect(mostYoungBytes("")).toBeGreaterThanOrEqual(16 * MIB);
});
