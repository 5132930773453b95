// Once for a whole run of the system tests: sweeps what a killed run left, makes the Debian tree and the release that every
// test file takes its boards and variants from. Removed at the end, but for the Debian tree, which the next run takes again.
import { rmSync } from "node:fs";
import type { TestProject } from "vitest/node";
import { baseRoot, whyNoContainers } from "./base-root.ts";
import { sweepLostMachines } from "./machine.ts";
import { buildRelease } from "./release.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Folder with the signed release of this working tree, its key and its packed common part; empty: no containers here. */
    releases: string;
  }
}

export default async function prepare(project: TestProject): Promise<() => void> {
  if (whyNoContainers() !== undefined) {
    project.provide("releases", "");
    return () => undefined;
  }
  await sweepLostMachines();
  baseRoot();
  const folder = buildRelease();
  project.provide("releases", folder);
  return () => rmSync(folder, { recursive: true, force: true });
}
