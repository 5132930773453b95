// Boards that people ask about before they buy: what is known of their memory and speed, and where it is known from.
// `pipit doctor --board` estimates with it; a board at hand is calibrated instead.

export interface Board {
  id: string;
  name: string;
  cores: number;
  memoryBytes: number;
  /** What a system without a desktop leaves to programs. */
  usableBytes: number;
  /** Bytes a second that writing tokens really reads: file size times tokens a second, at the best thread count. */
  bandwidth: Figure;
  /** Arithmetic of reading a prompt, in multiply-adds of 2 operations a second: 2 × parameters × tokens a second. */
  operations: Figure;
  /** The same where the CPU's kernels repack the weights; undefined without a dot product. */
  repackedOperations?: Figure;
}

export interface Figure {
  value: number;
  source: string;
  /** Not measured on this board but carried over from a relative. */
  guess?: true;
}

const GB = 1e9;
const MIB = 1024 * 1024;

export const BOARDS: readonly Board[] = [
  {
    id: "pi-zero-2w",
    name: "Raspberry Pi Zero 2 W",
    cores: 4,
    memoryBytes: 427 * MIB,
    usableBytes: 330 * MIB,
    bandwidth: { value: 1.0 * GB, source: "ravijo/pi-llm: SmolLM2-135M Q4_K_M, 9 to 11 tok/s on 4 threads" },
    operations: { value: 3.8 * GB, source: "ravijo/pi-llm: SmolLM2-135M, prompt at 10 to 18 tok/s" },
  },
  {
    id: "pi-3",
    name: "Raspberry Pi 3 B+",
    cores: 4,
    memoryBytes: 906 * MIB,
    usableBytes: 760 * MIB,
    bandwidth: {
      value: 1.2 * GB,
      source: "Zero 2 W by clock (1.4 and 1.0 GHz, the same core and memory type)",
      guess: true,
    },
    operations: { value: 5.3 * GB, source: "Zero 2 W by clock", guess: true },
  },
  {
    id: "pi-4",
    name: "Raspberry Pi 4 B, 4 GB",
    cores: 4,
    memoryBytes: 3793 * MIB,
    usableBytes: 3400 * MIB,
    bandwidth: { value: 3.3 * GB, source: "Llama 3.2 1B 2.6 tok/s, TinyLlama Q8_0 3 tok/s (performance notes, 1)" },
    operations: { value: 22 * GB, source: "TinyLlama 1.1B Q8_0: prompt at 10 tok/s" },
  },
  {
    id: "pi-5",
    name: "Raspberry Pi 5, 4 GB",
    cores: 4,
    memoryBytes: 4046 * MIB,
    usableBytes: 3600 * MIB,
    bandwidth: {
      value: 11.3 * GB,
      source: "edge-llm-memory-wall: fit over 19 files at the best thread count, R² 0.994",
    },
    operations: { value: 88 * GB, source: "edge-llm-memory-wall: Qwen2.5 0.5B, not repacked, 89 tok/s on 4 threads" },
    repackedOperations: { value: 125 * GB, source: "edge-llm-memory-wall: Llama 3.2 1B Q4_K_M, 62 tok/s on 4 threads" },
  },
  {
    id: "orange-pi-5",
    name: "Orange Pi 5 (RK3588S), 8 GB",
    cores: 4,
    memoryBytes: 7744 * MIB,
    usableBytes: 7200 * MIB,
    bandwidth: { value: 15 * GB, source: "llama.cpp on the A76 cluster: Llama 3.2 1B Q4_0, 22.5 tok/s on 3 threads" },
    operations: { value: 88 * GB, source: "the same core as the Raspberry Pi 5", guess: true },
    repackedOperations: { value: 285 * GB, source: "Llama 3.2 1B Q4_0 packed, 116 to 119 tok/s on 4 threads" },
  },
];
