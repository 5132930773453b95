// The picture of the classify benchmark: how often each way is right against how long it takes, as SVG.
import type { Results, Row } from "./bench.ts";

const WIDTH = 760;
const HEIGHT = 420;
const PLOT = { left: 60, top: 60, width: 620, height: 300 };
const LEAST_MS = 2;
const MOST_MS = 1000;
const OURS = "#1f6feb";
const OTHERS = "#cf222e";

interface Point {
  name: string;
  accuracy: number | undefined;
  ms: number | undefined;
  colour: string;
  /** Where its words stand, so that those of neighbours keep apart. */
  side: Side;
}

type Side = "above" | "below" | "left" | "right";

const SIDES = {
  above: { dx: 0, dy: -10, anchor: "start" },
  below: { dx: 0, dy: 20, anchor: "start" },
  left: { dx: -10, dy: 4, anchor: "end" },
  right: { dx: 10, dy: 4, anchor: "start" },
} as const;

export function drawClassify({ rows, machine, date }: Results): string {
  const row = (name: string): Row | undefined => rows.find((one) => one.case === name);
  const [head, headMs] = [row("head, 8 examples a label: accuracy"), row("head: engine p50")];
  const [decoder, decoderMs] = [row("decoder, 8 examples a label: accuracy"), row("decoder: engine p50")];
  const [bus, busMs] = [row("over MQTT: accuracy"), row("over MQTT: p50")];
  const [context, contextMs] = [row("decision context of node-llama-cpp"), row("decision context: p50")];
  const ofServer = "llama-server, grammar, 8 examples a label";
  const [server, serverMs] = [row(`${ofServer}: accuracy`), row(`${ofServer}: p50`)];
  const points: Point[] = [
    { name: "head, in the engine", accuracy: head?.measured, ms: headMs?.measured, colour: OURS, side: "below" },
    { name: "head, over MQTT", accuracy: bus?.measured, ms: busMs?.measured, colour: OURS, side: "above" },
    { name: "decoder path", accuracy: decoder?.measured, ms: decoderMs?.measured, colour: OURS, side: "right" },
    { name: "raw label scores", accuracy: decoder?.baseline, ms: decoderMs?.baseline, colour: OTHERS, side: "left" },
    {
      name: "llama-server, same page",
      accuracy: server?.measured,
      ms: serverMs?.measured,
      colour: OTHERS,
      side: "right",
    },
    {
      name: "llama-server, as a chat",
      accuracy: server?.baseline,
      ms: serverMs?.baseline,
      colour: OTHERS,
      side: "right",
    },
    { name: "decision context", accuracy: context?.measured, ms: contextMs?.measured, colour: OTHERS, side: "above" },
  ];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" fill="#1f2328">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(16, 24, "Eight home topics, 8 examples a label: share right against p50 of one text", 15),
    text(16, 42, `${machine}, ${date}; all in one run, SmolLM2-135M Q4_1 and all-MiniLM-L6-v2 Q8_0`, 11, "#57606a"),
    ...grid(),
    ...points.flatMap(drawPoint),
    "</svg>",
    "",
  ].join("\n");
}

function grid(): string[] {
  const { left, top, width, height } = PLOT;
  const shares = [0, 0.2, 0.4, 0.6, 0.8, 1].flatMap((share) => [
    `<line x1="${left}" y1="${yOf(share)}" x2="${left + width}" y2="${yOf(share)}" stroke="#d0d7de"/>`,
    text(left - 8, yOf(share) + 4, share.toFixed(1), 11, "#57606a", "end"),
  ]);
  const times = [5, 10, 20, 50, 100, 200, 500].flatMap((ms) => [
    `<line x1="${xOf(ms)}" y1="${top}" x2="${xOf(ms)}" y2="${top + height}" stroke="#eaeef2"/>`,
    text(xOf(ms), top + height + 18, `${ms} ms`, 11, "#57606a", "middle"),
  ]);
  return [...shares, ...times];
}

/** Nothing for what was not measured. */
function drawPoint({ name, accuracy, ms, colour, side }: Point): string[] {
  if (accuracy === undefined || ms === undefined || !Number.isFinite(accuracy) || !Number.isFinite(ms)) return [];
  const [x, y] = [xOf(ms), yOf(accuracy)];
  const { dx, dy, anchor } = SIDES[side];
  return [
    `<circle cx="${x}" cy="${y}" r="5" fill="${colour}"/>`,
    text(x + dx, y + dy, `${name}: ${accuracy.toFixed(2)}, ${ms.toPrecision(3)} ms`, 11, colour, anchor),
  ];
}

/** On a scale of logarithms. */
function xOf(ms: number): number {
  const share = Math.log(ms / LEAST_MS) / Math.log(MOST_MS / LEAST_MS);
  return Math.round(PLOT.left + PLOT.width * Math.min(1, Math.max(0, share)));
}

function yOf(share: number): number {
  return Math.round(PLOT.top + PLOT.height * (1 - share));
}

function text(x: number, y: number, content: string, size: number, fill = "#1f2328", anchor = "start"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" font-size="${size}" fill="${fill}">${escaped}</text>`;
}
