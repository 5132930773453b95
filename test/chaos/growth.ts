// How fast something grows, from samples with outliers: the median of the slopes between all pairs (Theil and Sen).

export interface Sample {
  ms: number;
  bytes: number;
}

/** Of a long run, medians of so many stretches: the pairs would be millions. */
const MOST_POINTS = 400;

export function growthMbPerHour(samples: readonly Sample[]): number {
  const points = thinned(samples);
  const slopes = points.flatMap(({ ms, bytes }, index) =>
    points.slice(index + 1).map((later) => (later.bytes - bytes) / (later.ms - ms)),
  );
  return (middle(slopes) * 3_600_000) / 1_000_000;
}

function thinned(samples: readonly Sample[]): Sample[] {
  const size = Math.ceil(samples.length / MOST_POINTS);
  return Array.from({ length: Math.ceil(samples.length / size) }, (_, index) => {
    const stretch = samples.slice(index * size, (index + 1) * size);
    return { ms: middle(stretch.map(({ ms }) => ms)), bytes: middle(stretch.map(({ bytes }) => bytes)) };
  });
}

function middle(values: number[]): number {
  values.sort((one, other) => one - other);
  return values[Math.floor(values.length / 2)] ?? NaN;
}
