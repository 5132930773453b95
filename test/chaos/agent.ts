// The agent as a process to be killed: started with PIPIT_* variables only, in a state directory that outlives it.
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createWriteStream } from "node:fs";
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

export class ChaosAgent {
  readonly directory = mkdtempSync(join(tmpdir(), "pipit-chaos-"));
  readonly stateDir: string;
  readonly logFile = join(this.directory, "agent.log");
  starts = 0;
  readonly #options: ChaosAgentOptions;
  #child: ChildProcess | undefined;

  constructor(options: ChaosAgentOptions) {
    this.#options = options;
    this.stateDir = options.stateDir ?? join(this.directory, "state");
    writeFileSync(join(this.directory, "stand-in.gguf"), tinyGguf());
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
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
        ...standIn,
        ...env,
      },
    });
    this.#child.stderr?.pipe(createWriteStream(this.logFile, { flags: "a" }));
    this.starts += 1;
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.running) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Ends the process; removes the directory unless the run failed and its log is wanted. */
  async stop(): Promise<void> {
    await this.kill("SIGTERM");
    rmSync(this.directory, { recursive: true, force: true });
  }
}
