// The agent as a process to be killed: started with PIPIT_* variables only, in a state directory that outlives it.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tinyGguf } from "../fixtures/tiny-gguf.ts";

export interface ChaosAgentOptions {
  brokerUrl: string;
  /** `stand-in`: delivery without a model. `real`: `pipit run` with SmolLM2. */
  engine?: "stand-in" | "real";
  env?: NodeJS.ProcessEnv;
  /** Instead of a temporary directory, for instance on a disk of its own. */
  stateDir?: string;
}

export const DEVICE = "chaos";
/** What is late on a busy machine is not to count as lost, nor as `expired`. */
const DEADLINE_MS = "600000";
/** An agent that has not stopped by now never will. */
const STOP_MS = 15_000;

export class ChaosAgent {
  readonly directory = mkdtempSync(join(tmpdir(), "pipit-chaos-"));
  readonly stateDir: string;
  starts = 0;
  readonly #options: ChaosAgentOptions;
  readonly #logFile = join(this.directory, "agent.log");
  #child: ChildProcess | undefined;
  #lastWords = "(none)";
  /** When everything else fails: this process takes its agent along. */
  readonly #takeAlong = (): void => void this.#child?.kill("SIGKILL");

  constructor(options: ChaosAgentOptions) {
    this.#options = options;
    this.stateDir = options.stateDir ?? join(this.directory, "state");
    writeFileSync(join(this.directory, "stand-in.gguf"), tinyGguf());
    process.once("exit", this.#takeAlong);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The process that holds the model; undefined while there is none. */
  get modelPid(): number | undefined {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, "utf8").trim().split(" ");
    return children.map(Number).find((pid) => pid > 0 && commandOf(pid).includes("engine/child"));
  }

  /** What was logged beside answers, and the last answers. */
  get log(): string {
    try {
      const lines = readFileSync(this.#logFile, "utf8").trimEnd().split("\n");
      const told = lines.filter((line, index) => index >= lines.length - 20 || !line.includes('"msg":"answered"'));
      this.#lastWords = told.slice(-120).join("\n");
    } catch {
      // Stopped already, and its directory is gone.
    }
    return this.#lastWords;
  }

  start(): void {
    const { brokerUrl, engine = "stand-in", env } = this.#options;
    const program = engine === "real" ? ["dist/main.js", "run"] : ["test/chaos/stand-in-agent.mjs"];
    const standIn = engine === "real" ? {} : { PIPIT_MODEL: join(this.directory, "stand-in.gguf") };
    this.#child = spawn(process.execPath, program, {
      stdio: ["ignore", "ignore", "pipe"],
      env: {
        ...process.env,
        PIPIT_BROKER_URL: brokerUrl,
        PIPIT_DEVICE_ID: DEVICE,
        PIPIT_STATE_DIR: this.stateDir,
        PIPIT_LOG_FORMAT: "json",
        PIPIT_ANSWER_DEADLINE_MS: DEADLINE_MS,
        ...standIn,
        ...env,
      },
    });
    this.#child.stderr?.pipe(createWriteStream(this.#logFile, { flags: "a" }));
    this.starts += 1;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.running) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Ends the process and removes its directory. */
  async stop(): Promise<void> {
    const tooLong = setTimeout(() => void this.#child?.kill("SIGKILL"), STOP_MS);
    await this.kill("SIGTERM");
    clearTimeout(tooLong);
    process.off("exit", this.#takeAlong);
    this.#lastWords = this.log;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
