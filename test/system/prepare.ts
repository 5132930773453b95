// Once for a whole run of the system tests: sweeps what a killed run left, makes the Debian tree, boots one container to see
// whether this machine lets it, builds the release that every test file takes its variants from, and installs it on a board whose
// disk most of them begin with. Removed at the end, but for the Debian tree, which the next run takes again.
import { rmSync } from "node:fs";
import type { TestProject } from "vitest/node";
import { baseRoot, whyNoContainers } from "./base-root.ts";
import { Machine, sweepLostMachines } from "./machine.ts";
import { buildRelease, installRelease, modelFile } from "./release.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Folder with the signed release of this working tree, its key, its packed common part, and a disk with it installed. */
    releases: string;
    /** Why boards cannot be tested here, in words; empty when they can. */
    noBoards: string;
  }
}

export default async function prepare(project: TestProject): Promise<() => void> {
  const noModel = modelFile() ? undefined : "the model is not here: pipit models fetch";
  const reason = whyNoContainers() ?? noModel ?? (await whyNoneBoots());
  const folder = reason === undefined ? buildRelease() : "";
  project.provide("noBoards", reason ?? "");
  project.provide("releases", folder);
  const remove = () => rmSync(folder, { recursive: true, force: true });
  if (folder === "") return () => undefined;
  try {
    await installRelease(folder);
  } catch (thrown) {
    remove();
    throw thrown;
  }
  return remove;
}

/** The kernel's word on it: mounts, namespaces, control groups, a bridge, and inside of it a sandbox like the service's. */
async function whyNoneBoots(): Promise<string | undefined> {
  await sweepLostMachines();
  const probe = new Machine("probe", 2);
  try {
    baseRoot();
    await probe.boot();
    const sandbox = ["DynamicUser", "PrivateUsers", "PrivateDevices", "ProtectKernelTunables"].map(
      (word) => `-p ${word}=yes`,
    );
    probe.sh(`systemd-run --quiet --wait ${sandbox.join(" ")} -p ProtectSystem=strict -p ProtectProc=invisible true`);
    return undefined;
  } catch (thrown) {
    return `no container boots here: ${String((thrown as Error).message)
      .trim()
      .replaceAll(/\s*\n\s*/g, "; ")
      .slice(0, 300)}`;
  } finally {
    await probe.destroy();
  }
}
