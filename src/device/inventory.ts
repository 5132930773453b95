// What the board is: read once, slowly, for the state topic, doctor and the calibration's key. The only user of
// systeminformation, which is loaded when asked for: it is worth 4 MB to a daemon that needs it once.
import { arch, cpus } from "node:os";
import { SensorFiles } from "./sensor-files.ts";

export interface Inventory {
  /** As the vendor calls it, for example `Raspberry Pi 5 Model B Rev 1.0`. */
  board: string;
  cpu: string;
  architecture: string;
  cores: number;
  memoryBytes: number;
  operatingSystem: string;
  kernel: string;
  /** Types of tensors that this CPU's kernels copy into another layout. */
  repackedTypes: string[];
}

export async function readInventory(sensorsRoot: string): Promise<Inventory> {
  const files = new SensorFiles(sensorsRoot);
  const { osInfo, system, mem } = await import("systeminformation");
  const [os, machine, memory] = await Promise.all([osInfo(), system(), mem()]);
  return {
    board: boardName(files) ?? ([machine.manufacturer, machine.model].filter(Boolean).join(" ") || "unknown board"),
    cpu: cpuName(sensorsRoot),
    architecture: arch(),
    cores: cpus().length,
    memoryBytes: memory.total,
    operatingSystem: `${os.distro} ${os.release}`,
    kernel: os.kernel,
    repackedTypes: repackedTypes(sensorsRoot),
  };
}

/** Part of the calibration's key: the same board gives the same name after every start. */
export function cpuName(sensorsRoot: string): string {
  const files = new SensorFiles(sensorsRoot);
  const cpuinfo = files.text("proc/cpuinfo") ?? "";
  const model = /^(?:model name|Model|Hardware)\s*:\s*(.+)$/m.exec(cpuinfo)?.[1];
  const count = cpuinfo.match(/^processor\s*:/gm)?.length ?? cpus().length;
  return `${boardName(files) ?? model ?? arch()} x${count}`;
}

function boardName(files: SensorFiles): string | undefined {
  const name = files.text("proc/device-tree/model")?.replaceAll("\0", "").trim();
  return name === "" ? undefined : name;
}

// Which kernels of llama.cpp (ggml-cpu/repack.cpp in node-llama-cpp 3.22.1) take which types. Where a row is too short for
// them nothing is copied after all; what the memory plan learns from the measured RSS puts that right.
const REPACKED_WITH_DOTPROD = ["Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"];
const REPACKED_WITH_AVX2 = ["Q4_0", "Q4_K", "IQ4_NL"];

/** Cortex-A53 and A72 (Raspberry Pi 3, 4, Zero 2 W) have no dot product: nothing is repacked there. */
export function repackedTypes(sensorsRoot: string): string[] {
  const cpuinfo = new SensorFiles(sensorsRoot).text("proc/cpuinfo") ?? "";
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.+)$/m.exec(cpuinfo)?.[1]?.split(/\s+/) ?? []);
  if (flags.has("asimddp")) return REPACKED_WITH_DOTPROD;
  return flags.has("avx2") ? REPACKED_WITH_AVX2 : [];
}
