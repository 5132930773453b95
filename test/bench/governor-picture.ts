// The governor's picture: speeds by load as bars, and what happened over time where the load changes, as SVG.
import type { Results, Row, Series } from "./bench.ts";

const WIDTH = 960;
const LEFT = 190;
const PLOT = WIDTH - LEFT - 90;
const BAR = 11;
const COLOURS = { governed: "#1f6feb", best: "#8b949e", other: "#d0d7de", defaults: "#cf222e", neighbours: "#f2cc8f" };

interface Bar {
  name: string;
  value: number;
  colour: string;
}

export function drawGovernor({ rows, series = [], machine, date }: Results): string {
  const bars = loads(rows);
  const charts = series.map((one, index) => chart(one, 60 + bars.height + Math.floor(index / 2) * 190, index % 2));
  const height = 60 + bars.height + Math.ceil(series.length / 2) * 190 + 10;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" fill="#1f2328">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(
      16,
      24,
      "Tokens/s of one answer: governed, on fixed thread counts, and as node-llama-cpp is by default",
      "",
      15,
    ),
    text(
      16,
      42,
      `${machine}, ${date}; medians, every bar of a load measured in turns with the others`,
      "",
      11,
      "#57606a",
    ),
    bars.svg,
    ...charts,
    "</svg>",
    "",
  ].join("\n");
}

/** The loads that stay, one group of bars each. */
function loads(rows: Row[]): { svg: string; height: number } {
  const groups = rows.flatMap((row) => {
    const name = /^(.*): governed \/ best fixed$/.exec(row.case)?.[1];
    return name === undefined || !row.values ? [] : [{ name, bars: barsOf(name, row, rows) }];
  });
  const most = Math.max(1, ...groups.flatMap(({ bars }) => bars.map(({ value }) => value)).filter(Number.isFinite));
  const parts: string[] = [];
  let y = 60;
  for (const { name, bars } of groups) {
    parts.push(text(LEFT - 8, y + (bars.length * BAR) / 2 + 3, name, "end"));
    for (const { name: label, value, colour } of bars) {
      const width = Number.isFinite(value) ? Math.max(1, (value / most) * (PLOT - 120)) : 0;
      parts.push(`<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 2}" fill="${colour}"/>`);
      parts.push(text(LEFT + width + 5, y + BAR - 3, `${digits(value)} ${label}`, "start", 9, "#57606a"));
      y += BAR;
    }
    y += 9;
  }
  return { svg: parts.join("\n"), height: y - 60 + 10 };
}

function barsOf(name: string, row: Row, rows: Row[]): Bar[] {
  const { governed = NaN, ...fixed } = row.values ?? {};
  const defaults = rows.find((one) => one.case === `${name}: governed / library's defaults`)?.baseline;
  const counts = Object.entries(fixed).map(([label, value]) => ({
    name: label.replace("fixed", "fixed at"),
    value,
    colour: value === row.baseline ? COLOURS.best : COLOURS.other,
  }));
  return [
    { name: "governed", value: governed, colour: COLOURS.governed },
    ...counts,
    ...(defaults === undefined ? [] : [{ name: "library's defaults", value: defaults, colour: COLOURS.defaults }]),
  ];
}

/** One case over its time: speed as a line, neighbours as an area, threads as steps. */
function chart({ case: name, atMs, lines, marks }: Series, top: number, column: number): string {
  const left = column === 0 ? 50 : WIDTH / 2 + 40;
  const width = WIDTH / 2 - 80;
  const height = 110;
  const endMs = (atMs[atMs.length - 1] ?? 0) + 1;
  const speeds = lines["tokens/s"] ?? [];
  const most = Math.max(1, ...speeds);
  const x = (ms: number) => left + (ms / endMs) * width;
  const y = (share: number) => top + 30 + height * (1 - share);
  const points = (values: number[], scale: number) =>
    values.map((value, index) => `${x(atMs[index] ?? 0).toFixed(1)},${y(Math.min(1, value / scale)).toFixed(1)}`);
  const CORES = 4;
  const neighbours = points(lines["neighbours' cores"] ?? [], CORES);
  const threads = (lines["threads"] ?? []).flatMap((value, index) => {
    const from = x(index === 0 ? 0 : ((atMs[index - 1] ?? 0) + (atMs[index] ?? 0)) / 2);
    const to = x(((atMs[index] ?? 0) + (atMs[index + 1] ?? endMs)) / 2);
    return [`${from.toFixed(1)},${y(value / CORES).toFixed(1)}`, `${to.toFixed(1)},${y(value / CORES).toFixed(1)}`];
  });
  return [
    text(left, top + 18, name, "start", 12),
    `<polygon points="${left},${y(0)} ${neighbours.join(" ")} ${x(endMs).toFixed(1)},${y(0)}" fill="${COLOURS.neighbours}"/>`,
    `<polyline points="${threads.join(" ")}" fill="none" stroke="#2da44e" stroke-width="1.5"/>`,
    `<polyline points="${points(speeds, most * 1.1).join(" ")}" fill="none" stroke="${COLOURS.governed}" stroke-width="1.5"/>`,
    ...marks.flatMap(({ atMs: ms, text: mark }) => [
      `<line x1="${x(ms).toFixed(1)}" y1="${y(1)}" x2="${x(ms).toFixed(1)}" y2="${y(0)}" stroke="#57606a" stroke-dasharray="3 3"/>`,
      text(x(ms) + 4, y(1) + 8, mark, "start", 10, "#57606a"),
    ]),
    `<line x1="${left}" y1="${y(0)}" x2="${left + width}" y2="${y(0)}" stroke="#8c959f"/>`,
    text(left - 4, y(1 / 1.1) + 4, most.toFixed(0), "end", 9, COLOURS.governed),
    text(left - 4, y(2 / CORES) + 3, "2", "end", 9, "#2da44e"),
    text(left - 4, y(1 / CORES) + 3, "1", "end", 9, "#2da44e"),
    text(left, y(0) + 14, "0 s", "start", 9, "#57606a"),
    text(left + width, y(0) + 14, `${(endMs / 1000).toFixed(0)} s`, "end", 9, "#57606a"),
    text(left + width / 2, y(0) + 14, "tokens/s", "end", 9, COLOURS.governed),
    text(left + width / 2 + 6, y(0) + 14, "threads", "start", 9, "#2da44e"),
    text(left + width / 2 + 50, y(0) + 14, "neighbours' cores", "start", 9, "#b08800"),
  ].join("\n");
}

function text(x: number, y: number, content: string, anchor = "start", size = 12, fill = "#1f2328"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor || "start"}" font-size="${size}" fill="${fill}">${escaped}</text>`;
}

function digits(value: number): string {
  return value >= 10 ? value.toFixed(0) : value.toPrecision(2);
}
