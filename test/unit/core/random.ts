// Repeatable noise for tests of statistics.

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Vectors scattered around `centres`, in turn: `count` of them, each with the position of its centre. */
export function scattered(centres: Float32Array[], count: number, noise: number, random: () => number) {
  return Array.from({ length: count }, (_, index) => {
    const label = index % centres.length;
    const vector = centres[label]!.map((value) => value + noise * (random() + random() + random() - 1.5));
    return { vector, labels: [label] };
  });
}

export function randomVectors(count: number, dimensions: number, random: () => number): Float32Array[] {
  return Array.from({ length: count }, () => Float32Array.from({ length: dimensions }, () => random() - 0.5));
}
