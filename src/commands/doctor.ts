// `pipit doctor`: what stands in the way of answering questions on this board, line by line, each with what to do.
import { loadConfig } from "../config/load.ts";
import { CONFIG_HELP, CONFIG_OPTIONS } from "../config/outside.ts";
import { CHECKS, type Finding, readBoard } from "./checks.ts";
import { type Command, EXIT } from "./command.ts";
import { BOARD_IDS, estimate } from "./estimate.ts";

const MARKS = { ok: "ok  ", warning: "warn", failure: "FAIL" } as const;

export const command: Command = {
  name: "doctor",
  summary: "check runtime, CPU, memory, model and broker, with the fix for what is wrong",
  help: `Usage: pipit doctor [options]
       pipit doctor --board BOARD [--model NAME]

With --board it estimates instead what the model would do on another board: ${BOARD_IDS}.

Exit codes: 0 nothing fails (there may be warnings), 1 something does.

${CONFIG_HELP}`,
  options: { ...CONFIG_OPTIONS, board: { type: "string" } },
  async run(context) {
    const { board, ...values } = context.values;
    const { env, json, stdout } = context;
    const { config, secret } = loadConfig({ env, args: values });
    if (typeof board === "string") return estimate(board, config, context);
    const readings = await readBoard({ config });
    const findings: Finding[] = [];
    for (const check of CHECKS) {
      const found = await check({ config, secret, readings, env });
      findings.push(...found);
      if (!json) for (const finding of found) stdout(line(finding));
    }
    const failed = findings.some(({ status }) => status === "failure");
    if (json) stdout(`${JSON.stringify({ ok: !failed, findings, readings }, null, 2)}\n`);
    return failed ? EXIT.failed : EXIT.ok;
  },
};

function line({ check, status, message, fix }: Finding): string {
  return `${MARKS[status]}  ${check.padEnd(14)}  ${message}\n${fix ? `${"".padEnd(22)}→ ${fix}\n` : ""}`;
}
