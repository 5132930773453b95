import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Sensors } from "../../../src/device/sensors.ts";
import { FakeClock } from "../../fakes/clock.ts";

let root: string;
let clock: FakeClock;
let sensors: Sensors;

/** Lays files below the sensors' root. */
function lay(files: Record<string, string>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** proc/stat of two CPUs: ticks busy and idle so far. */
const stat = (...cpus: [busy: number, idle: number][]) =>
  [
    "cpu  0 0 0 0 0 0 0 0 0 0",
    ...cpus.map(([busy, idle], n) => `cpu${n} ${busy} 0 0 ${idle} 0 0 0 0 0 0`),
    "ctxt 1",
  ].join("\n");

const processStat = (ticks: number, faults = 0) =>
  `12 (node (main) x) S 1 12 12 0 -1 4194304 100 0 ${faults} 0 ${ticks} 0 0 0 20 0 7 0 1 1 1`;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "pipit-sensors-"));
  clock = new FakeClock();
  sensors = new Sensors({ sensorsRoot: root, clock });
  lay({
    "proc/stat": stat([0, 0], [0, 0]),
    "proc/self/stat": processStat(0),
    "proc/self/status": "Name:\tnode\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n",
    "proc/meminfo": "MemTotal:  1000000 kB\nMemFree: 1 kB\nMemAvailable:   600000 kB\n",
  });
});

afterEach(async () => {
  await sensors.stop();
  rmSync(root, { recursive: true });
});

describe("CPU readings", () => {
  it("take what we and our child used off the load of the board", () => {
    sensors.watchChild(77);
    lay({ "proc/77/stat": processStat(1000, 5) });
    expect(sensors.read()).toMatchObject({ windowMs: 0, foreignCores: 0, coreCount: 2, allowedCores: 2 });
    clock.advance(500);
    lay({
      "proc/stat": stat([50, 0], [30, 20]),
      "proc/self/stat": processStat(5),
      "proc/77/stat": processStat(1025, 9),
    });
    const reading = sensors.read();
    expect(reading.windowMs).toBe(500);
    expect(reading.ownCores).toBeCloseTo(0.6);
    expect(reading.foreignCores).toBeCloseTo(1);
  });

  it("count only neighbours on cores that we may use", () => {
    lay({ "proc/self/status": "Cpus_allowed_list:\t1\n" });
    sensors.read();
    clock.advance(500);
    lay({ "proc/stat": stat([50, 0], [5, 45]) });
    const reading = sensors.read();
    expect(reading).toMatchObject({ coreCount: 2, affinityCores: 1, allowedCores: 1 });
    expect(reading.foreignCores).toBeCloseTo(0.1);
  });

  it("keep the last window when asked again too soon to measure", () => {
    sensors.read();
    clock.advance(500);
    lay({ "proc/stat": stat([50, 0], [0, 50]) });
    sensors.read();
    clock.advance(20);
    expect(sensors.read().foreignCores).toBeCloseTo(1);
  });

  it("begin a new window when the child is another one, whose total is no difference to the old one's", () => {
    sensors.read();
    clock.advance(500);
    lay({ "proc/88/stat": processStat(90_000), "proc/stat": stat([50, 0], [50, 0]) });
    sensors.watchChild(88);
    expect(sensors.read().ownCores).toBe(0);
  });

  it("see a changed affinity within two seconds", () => {
    sensors.read();
    lay({ "proc/self/status": "Cpus_allowed_list:\t0\n" });
    clock.advance(2000);
    expect(sensors.read().allowedCores).toBe(1);
  });
});

describe("control groups", () => {
  it("of version 2 bind by the tightest ancestor", () => {
    lay({
      "proc/self/cgroup": "0::/system.slice/pipit.service\n",
      "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/system.slice/pipit.service/cpu.max": "max 100000\n",
      "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.max": "536870912\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.high": "400000000\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.current": "300000000\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.stat":
        "anon 100000000\nfile 150000000\nfile_mapped 100000000\ninactive_file 20000000\nactive_file 130000000\nslab_reclaimable 1000000\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.events": "low 0\nhigh 3\nmax 0\noom 0\noom_kill 2\n",
      "sys/fs/cgroup/system.slice/memory.max": "max\n",
      "sys/fs/cgroup/system.slice/memory.current": "900000000\n",
    });
    const reading = sensors.read();
    expect(reading.quotaCores).toBe(1.5);
    expect(reading.allowedCores).toBe(1.5);
    expect(reading.groupMemory).toEqual({
      limitBytes: 400_000_000,
      headroomBytes: 151_000_000,
      mappedBytes: 100_000_000,
      oomKills: 2,
    });
  });

  it("of version 1 are found where each controller is mounted", () => {
    lay({
      "proc/self/cgroup": "4:memory:/docker/ab/inner\n3:cpu,cpuacct:/docker/ab\n1:name=systemd:/x\n0::/\n",
      "proc/self/mountinfo":
        "35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
        "32 31 0:29 /docker/ab /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" +
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
      "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
      "sys/fs/cgroup/memory/memory.usage_in_bytes": "1\n",
      "sys/fs/cgroup/memory/inner/memory.limit_in_bytes": "200000000\n",
      "sys/fs/cgroup/memory/inner/memory.usage_in_bytes": "150000000\n",
      "sys/fs/cgroup/memory/inner/memory.stat":
        "inactive_file 7\ntotal_inactive_file 10000000\ntotal_active_file 0\ntotal_mapped_file 4000000\n",
    });
    const reading = sensors.read();
    expect(reading.allowedCores).toBe(0.5);
    expect(reading.groupMemory).toEqual({ limitBytes: 200_000_000, headroomBytes: 56_000_000, mappedBytes: 4_000_000 });
  });

  it("without a limit, or with one beyond the board's memory, bind nothing", () => {
    lay({
      "proc/self/cgroup": "0::/\n",
      "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/memory.max": "9000000000000\n",
      "sys/fs/cgroup/memory.current": "5\n",
    });
    expect(sensors.read()).not.toHaveProperty("groupMemory");
    expect(sensors.read()).not.toHaveProperty("quotaCores");
  });
});

describe("a board that says nothing", () => {
  it("still gives a reading that can be planned with", () => {
    rmSync(join(root, "proc"), { recursive: true });
    const reading = sensors.read();
    expect(reading.allowedCores).toBeGreaterThanOrEqual(1);
    expect(reading.memoryAvailableBytes).toBeGreaterThan(0);
    expect(reading).not.toHaveProperty("temperatureC");
    expect(reading).not.toHaveProperty("pressure");
  });
});

describe("heat and pressure", () => {
  it("are read where they exist: the hottest zone, the firmware's bits, stalled time", () => {
    lay({
      "sys/class/thermal/thermal_zone0/temp": "61500\n",
      "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
      "sys/class/thermal/thermal_zone1/temp": "99000\n",
      "sys/class/thermal/thermal_zone1/type": "battery\n",
      "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
      "proc/pressure/cpu": "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\n",
      "proc/pressure/memory": "some avg10=1.00 avg60=0 avg300=0 total=1\nfull avg10=0.25 avg60=0 avg300=0 total=1\n",
      "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "600000\n",
      "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
    });
    expect(sensors.read()).toMatchObject({
      temperatureC: 61.5,
      throttle: { underVoltage: true, frequencyCapped: false, throttled: true, softTemperatureLimit: false },
      pressure: { cpuSome: 12.5, memorySome: 1, memoryFull: 0.25 },
      frequencyRatio: 0.4,
    });
  });
});

describe("stalled time of the agent's own group", () => {
  const stalled = (board: string, group: string) =>
    lay({
      "proc/pressure/memory": `some avg10=${board} avg60=0 avg300=0 total=1\nfull avg10=${board} avg60=0 avg300=0 total=1\n`,
      "proc/self/cgroup": "0::/system.slice/pipit.service\n",
      "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
      "sys/fs/cgroup/system.slice/pipit.service/memory.pressure": `some avg10=${group} avg60=0 avg300=0 total=1\nfull avg10=${group} avg60=0 avg300=0 total=1\n`,
    });

  it.each([
    ["0.00", "35.00", 35],
    ["12.00", "0.00", 12],
  ])("of %s on the board and %s in the group the worse one counts", (board, group, worst) => {
    stalled(board, group);
    expect(sensors.read().pressure).toEqual({ memorySome: worst, memoryFull: worst });
  });
});

describe("on this machine", () => {
  it("a reading costs less than a millisecond of CPU", () => {
    const real = new Sensors({ sensorsRoot: "/", clock });
    real.watchChild(process.pid);
    real.read();
    const before = process.cpuUsage();
    for (let i = 0; i < 200; i++) real.read();
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 200).toBeLessThan(1000);
  });
});
