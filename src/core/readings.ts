// What the board says about itself at one moment: data only, made by `src/device`, read by the policies. Nothing optional
// may be required: stock Raspberry Pi OS has neither PSI nor a memory cgroup, a virtual machine has no temperature.

/** Pressure stall information: per cent of the last 10 s in which tasks waited for the resource (0 to 100). */
export interface Pressure {
  /** Some task waited for a CPU. */
  cpuSome?: number;
  /** Some task waited for memory. */
  memorySome?: number;
  /** All tasks waited for memory at once: thrashing. */
  memoryFull?: number;
}

/** Bits of the Raspberry Pi firmware's get_throttled, as they are now (not the sticky ones since boot). */
export interface ThrottleBits {
  underVoltage: boolean;
  frequencyCapped: boolean;
  throttled: boolean;
  softTemperatureLimit: boolean;
}

/** One memory limit that binds us: the tightest of all ancestor groups. */
export interface GroupMemory {
  limitBytes: number;
  /** Limit less use, with unmapped page cache counted as free: the kernel drops it before it kills. */
  headroomBytes: number;
  /** Mapped files in the group, above all weights: the kernel drops them before it kills, at the price of reading them again. */
  mappedBytes?: number;
  /** Kills by the kernel in this group since it was made, where the kernel counts them. */
  oomKills?: number;
}

/** The engine's child as the kernel sees it. */
export interface ChildReading {
  rssBytes: number;
  anonymousBytes: number;
  fileBytes: number;
  /** Pages that had to be read from disk again, per second of the window: weights that were evicted. */
  majorFaultsPerSecond: number;
}

export interface Readings {
  /** Monotonic clock of the reading, milliseconds. */
  atMs: number;
  /** Length of the window that the CPU figures cover; 0 in the first reading, which has no window. */
  windowMs: number;
  /** Cores of the board that are online. */
  coreCount: number;
  /** Online cores that affinity and cpuset allow. */
  affinityCores: number;
  /** Cores this process may use: affinity and cpuset, and no more than the CPU quota; at least a part of one. */
  allowedCores: number;
  /** The CPU quota in cores, where one is set; `allowedCores` already respects it. */
  quotaCores?: number;
  /** Cores' worth of CPU that others (steal included) used on our allowed cores in the window. */
  foreignCores: number;
  /** Cores' worth of CPU that the agent and its child used in the window. */
  ownCores: number;
  memoryTotalBytes: number;
  /** The kernel's own estimate of what can be had without swapping. */
  memoryAvailableBytes: number;
  groupMemory?: GroupMemory;
  /** Processes that the kernel has killed for want of memory since the board started, or in our group where only that is told. */
  oomKills?: number;
  child?: ChildReading;
  pressure?: Pressure;
  /** The hottest sensor of the chip. */
  temperatureC?: number;
  throttle?: ThrottleBits;
  /** Present clock over highest clock, mean of the allowed cores, 0 to 1; means something only under load. */
  frequencyRatio?: number;
}

/** Where readings come from: the board, a fixture, a trace. */
export interface ReadingsSource {
  /** Takes one reading now; the window runs from the reading before. Under 1 ms of CPU. */
  read(): Readings;
  /** The engine's child whose CPU time is our own; undefined while there is none. */
  watchChild(pid: number | undefined): void;
}
