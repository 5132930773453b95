// Small pictures for the terminal, in plain characters: bars for a table of speeds, rows of blocks for values over time.

const BLOCKS = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/** One bar a row, scaled to the largest value: `2 threads  ██████████ 90.1 tok/s`. */
export function bars(rows: { label: string; value: number; note?: string }[], width: number): string {
  const labelWidth = Math.max(0, ...rows.map(({ label }) => label.length));
  const most = Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
  return rows
    .map(({ label, value, note }) => {
      const bar = "█".repeat(Math.max(value > 0 ? 1 : 0, Math.round((value / most) * width)));
      return `${label.padEnd(labelWidth)}  ${bar} ${value.toFixed(1)}${note === undefined ? "" : ` ${note}`}`;
    })
    .join("\n");
}

/** One character a column: the values of its share of the time by their mean, on a scale from 0 to `most`. */
export function timeline(values: { atMs: number; value: number }[], most: number, width: number): string {
  const first = values[0]?.atMs ?? 0;
  const span = Math.max(1, (values[values.length - 1]?.atMs ?? first) - first);
  const columns: number[][] = Array.from({ length: width }, () => []);
  for (const { atMs, value } of values) {
    columns[Math.min(width - 1, Math.floor(((atMs - first) / span) * width))]?.push(value);
  }
  let last = 0;
  return columns
    .map((column) => {
      if (column.length > 0) last = column.reduce((sum, value) => sum + value, 0) / column.length;
      const level = Math.round((Math.min(most, Math.max(0, last)) / Math.max(most, Number.MIN_VALUE)) * 8);
      return BLOCKS[level] ?? " ";
    })
    .join("");
}
