// The Debian 12 tree that every container stands on: made once by mmdebstrap (18 s where debootstrap takes a minute), kept in a cache folder, never written to
// afterwards (containers mount it under an overlay). systemd, sshd, mosquitto, python3 (for Ansible); no Node.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const PACKAGES =
  "systemd systemd-sysv dbus openssh-server mosquitto mosquitto-clients iproute2 xz-utils python3 rsync iputils-ping".split(
    " ",
  );
/** Changed whenever `furnish` is. */
const EDITION = "4";

/**
 * The first process of a container, before it becomes systemd: nspawn mounts the controllers of a v1 hierarchy read-only, and
 * systemd then sets no memory limits. What it makes writable is the container's own group and below.
 */
export const INIT = "/sbin/board-init";
const INIT_SCRIPT = `#!/bin/sh
mount -o remount,bind,rw /sys/fs/cgroup/memory 2>/dev/null
exec /lib/systemd/systemd
`;

export const CACHE = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "pipit-system-test");

/** What a container needs and this run lacks, in words; undefined when a first boot is worth trying. */
export function whyNoContainers(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  const tools = ["systemd-nspawn", "mmdebstrap", "nsenter", "ip", "mkfs.ext4", "ssh-keygen"];
  const missing = tools.find((tool) => !succeeds("sh", ["-c", `command -v ${tool}`]));
  return missing === undefined ? undefined : `${missing} is not installed`;
}

export function baseRoot(): string {
  const stamp = createHash("sha256")
    .update(PACKAGES.join() + EDITION)
    .digest("hex")
    .slice(0, 12);
  const root = join(CACHE, `root-${stamp}`);
  if (existsSync(root)) return root;
  mkdirSync(CACHE, { recursive: true });
  const partial = `${root}.partial`;
  rmSync(partial, { recursive: true, force: true });
  execFileSync("mmdebstrap", ["--quiet", "--variant=minbase", `--include=${PACKAGES.join()}`, "bookworm", partial], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  furnish(partial);
  renameSync(partial, root);
  return root;
}

function furnish(root: string): void {
  execFileSync("chroot", [root, "apt-get", "clean"]);
  rmSync(join(root, "var/lib/apt/lists"), { recursive: true, force: true });
  writeFileSync(join(root, "etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n");
  writeFileSync(join(root, "etc/machine-id"), "");
  rmSync(join(root, "etc/hostname"), { force: true });
  rmSync(join(root, "etc/resolv.conf"), { force: true });
  writeFileSync(join(root, INIT), INIT_SCRIPT, { mode: 0o755 });
  // Nothing of these is under test, and each costs boot time.
  const idle = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "console-getty.service",
  ];
  for (const unit of [...idle, "systemd-resolved.service", "systemd-networkd.service", "getty.target"]) {
    const mask = join(root, "etc/systemd/system", unit);
    if (!existsSync(mask)) symlinkSync("/dev/null", mask);
  }
  // A board's journal survives its reboots: the tests read why something failed before a power cut.
  mkdirSync(join(root, "var/log/journal"), { recursive: true });
  writeFileSync(join(root, "etc/ssh/sshd_config.d/test.conf"), "PermitRootLogin prohibit-password\nUseDNS no\n");
}

export function succeeds(command: string, args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
