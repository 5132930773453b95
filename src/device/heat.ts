// Temperature, throttle bits and clock. Every board has another subset of them: what is missing stays undefined.
import { execFile } from "node:child_process";
import type { ThrottleBits } from "../core/readings.ts";
import type { SensorFiles } from "./sensor-files.ts";

const THERMAL = "sys/class/thermal";
/** The firmware's node moved between kernels of the Raspberry Pi. */
const THROTTLE_FILES = [
  "sys/devices/platform/soc/soc:firmware/get_throttled",
  "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
  "sys/devices/platform/soc@0/soc@0:firmware/get_throttled",
  "sys/devices/platform/firmware/get_throttled",
];
const VCGENCMD = "usr/bin/vcgencmd";
const VCGENCMD_TIMEOUT_MS = 2000;

/** Chip temperature: the hottest zone. Batteries and radios run on other scales and are no concern of ours. */
export function readTemperatureC(files: SensorFiles): number | undefined {
  let hottest: number | undefined;
  for (const zone of files.names(THERMAL)) {
    if (!zone.startsWith("thermal_zone")) continue;
    const degrees = (files.number(`${THERMAL}/${zone}/temp`) ?? 0) / 1000;
    if (degrees <= 0 || degrees > 150) continue; // an unconnected sensor reads 0, -40 or 255
    if (/batt|wifi|iwl|charger/i.test(files.text(`${THERMAL}/${zone}/type`) ?? "")) continue;
    hottest = Math.max(hottest ?? degrees, degrees);
  }
  return hottest;
}

/** `0x50005`, `throttled=0x50005`, or the bare hexadecimal of sysfs (`50005`). */
export function parseThrottled(text: string): ThrottleBits | undefined {
  const match = /(?:^|=|0x)([0-9a-f]+)\s*$/i.exec(text.trim());
  if (match?.[1] === undefined) return undefined;
  const bits = Number.parseInt(match[1], 16);
  return {
    underVoltage: (bits & 1) !== 0,
    frequencyCapped: (bits & 2) !== 0,
    throttled: (bits & 4) !== 0,
    softTemperatureLimit: (bits & 8) !== 0,
  };
}

export function readThrottleFile(files: SensorFiles): ThrottleBits | undefined {
  for (const file of THROTTLE_FILES) {
    const text = files.text(file);
    if (text !== undefined) return parseThrottled(text);
  }
  return undefined;
}

/** Mean of present clock over highest clock of the given CPUs. */
export function readFrequencyRatio(files: SensorFiles, cpus: Iterable<number>): number | undefined {
  let sum = 0;
  let count = 0;
  for (const cpu of cpus) {
    const directory = `sys/devices/system/cpu/cpu${cpu}/cpufreq`;
    const now = files.number(`${directory}/scaling_cur_freq`);
    const highest = files.number(`${directory}/cpuinfo_max_freq`);
    if (now === undefined || highest === undefined || highest <= 0) continue;
    sum += now / highest;
    count++;
  }
  return count === 0 ? undefined : Math.min(1, sum / count);
}

/** Boards without the sysfs file answer through vcgencmd, which takes some milliseconds and so never blocks a reading. */
export class Vcgencmd {
  bits: ThrottleBits | undefined;
  #path: string;
  #missing = false;
  #running: Promise<void> | undefined;

  constructor(files: SensorFiles) {
    this.#path = files.path(VCGENCMD);
  }

  /** Begins one query unless one is under way; a board without the command is asked once and never again. */
  refresh(): Promise<void> {
    if (this.#missing) return Promise.resolve();
    this.#running ??= this.#query().finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** Waits for a query that is under way. */
  async settled(): Promise<void> {
    await this.#running;
  }

  #query(): Promise<void> {
    return new Promise((resolve) => {
      execFile(this.#path, ["get_throttled"], { timeout: VCGENCMD_TIMEOUT_MS }, (error, stdout) => {
        if (error && "code" in error && (error.code === "ENOENT" || error.code === "EACCES")) this.#missing = true;
        this.bits = error ? undefined : parseThrottled(stdout);
        resolve();
      });
    });
  }
}
