// Progress of a long transfer for people: one line rewritten in place on a terminal, or a plain line every tenth or few
// seconds elsewhere. Speed is that of the last seconds, so that the time left follows what the network does now.
import type { FetchProgress } from "./fetch-model.ts";

const WINDOW_MS = 5_000;
const REDRAW_MS = 100;
const PLAIN_EVERY_MS = 5_000;
const BAR_CELLS = 24;

const STAGE_WORDS = { download: "downloading", unpack: "unpacking", import: "importing", verify: "verifying" } as const;

export interface ProgressOptions {
  name: string;
  isTty: boolean;
  /** Gets whole lines, or on a terminal pieces that begin with a carriage return. */
  write: (text: string) => void;
  nowMs: () => number;
}

export class ProgressLine {
  readonly #options: ProgressOptions;
  #stage = "";
  #samples: { atMs: number; bytes: number }[] = [];
  #drawnMs = -Infinity;
  #drawnTenth = -1;
  #open = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  update(progress: FetchProgress): void {
    const now = this.#options.nowMs();
    const stage = `${progress.stage} ${progress.part}`;
    if (stage !== this.#stage) {
      this.end();
      this.#stage = stage;
      this.#samples = [];
      this.#drawnTenth = -1;
      this.#drawnMs = -Infinity;
    }
    this.#samples.push({ atMs: now, bytes: progress.doneBytes });
    while (this.#samples.length > 2 && now - (this.#samples[1]?.atMs ?? now) > WINDOW_MS) this.#samples.shift();
    const finished = progress.doneBytes === progress.totalBytes;
    if (this.#due(progress, now, finished)) this.#draw(progress, now, finished);
  }

  /** Ends the line on a terminal; notes may follow. */
  end(): void {
    if (this.#open) this.#options.write("\n");
    this.#open = false;
  }

  #due(progress: FetchProgress, now: number, finished: boolean): boolean {
    if (this.#options.isTty) return finished || now - this.#drawnMs >= REDRAW_MS;
    const tenth = progress.totalBytes === undefined ? -1 : Math.floor((10 * progress.doneBytes) / progress.totalBytes);
    return tenth > this.#drawnTenth ? this.#tenthPassed(tenth, now) : now - this.#drawnMs >= PLAIN_EVERY_MS;
  }

  // A fast transfer needs no ten lines: its tenths are noted, but shown only with a second between them, and the last.
  #tenthPassed(tenth: number, now: number): boolean {
    this.#drawnTenth = tenth;
    return tenth >= 10 || now - this.#drawnMs >= 1_000;
  }

  #draw(progress: FetchProgress, now: number, finished: boolean): void {
    this.#drawnMs = now;
    const text = this.#text(progress, finished);
    if (!this.#options.isTty) return this.#options.write(`${text}\n`);
    this.#options.write(`\r\u001b[2K${text}`);
    this.#open = true;
    if (finished) this.end();
  }

  #text(progress: FetchProgress, finished: boolean): string {
    const { stage, part, parts, doneBytes, totalBytes } = progress;
    const of = parts > 1 ? ` part ${part}/${parts}` : "";
    const head = `${this.#options.name}: ${STAGE_WORDS[stage]}${of}`;
    const speed = this.#bytesPerSecond();
    const rate = speed === undefined ? "" : `  ${sizeText(speed)}/s`;
    if (totalBytes === undefined || totalBytes === 0) return `${head}  ${sizeText(doneBytes)}${rate}`;
    const fraction = Math.min(1, doneBytes / totalBytes);
    const cells = Math.round(fraction * BAR_CELLS);
    const bar = this.#options.isTty ? ` [${"#".repeat(cells)}${".".repeat(BAR_CELLS - cells)}]` : "";
    const left = speed === undefined || finished ? "" : `  ${timeText((totalBytes - doneBytes) / speed)} left`;
    return `${head}${bar} ${String(Math.floor(fraction * 100)).padStart(3)} %  ${sizeText(doneBytes)} of ${sizeText(totalBytes)}${rate}${left}`;
  }

  #bytesPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs === first.atMs) return undefined;
    const speed = (1000 * (last.bytes - first.bytes)) / (last.atMs - first.atMs);
    return speed > 0 ? speed : undefined;
  }
}

/** `93.8 MB`: decimal units, as publishers and networks count. */
export function sizeText(bytes: number): string {
  if (bytes < 1e3) return `${Math.round(bytes)} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(0)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

function timeText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
