// `pipit doctor --board pi-4 --model NAME`: what the model would do on a board that is not here. Every figure of it is an
// estimate, and says so.
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { BOARDS } from "../core/boards.ts";
import { type WhatIf, whatIf } from "../core/what-if.ts";
import { CardStore } from "../device/card-store.ts";
import { cpuName } from "../device/inventory.ts";
import { libraryVersion } from "../engine/library-version.ts";
import { ModelLibrary } from "../models/library.ts";
import { WANTED } from "../work/model-specifier.ts";
import { type CommandContext, EXIT } from "./command.ts";

export const BOARD_IDS = BOARDS.map(({ id }) => id).join(", ");

export async function estimate(boardId: string, config: Config, context: CommandContext): Promise<number> {
  const { env, signal, stdout, stderr, json } = context;
  const board = BOARDS.find(({ id }) => id === boardId);
  if (!board) {
    stderr(`there is no board "${boardId}" in the table; there are ${BOARD_IDS}\n`);
    return EXIT.usage;
  }
  const library = new ModelLibrary({ directory: config.model.dir, catalogFile: config.model.catalogueFile, env });
  const onNote = (line: string) => stderr(`${line}\n`);
  const file = await library.obtain(config.model.name, { onProgress: () => {}, onNote, signal });
  const key = {
    modelSha256: file.sha256,
    cpu: cpuName(config.governor.sensorsRoot),
    library: libraryVersion(),
  };
  const card = await new CardStore(join(config.state.dir, "cards")).load(key);
  const wanted = {
    contextTokens: config.model.contextTokens || WANTED.contextTokens,
    batchTokens: config.model.batchTokens || WANTED.batchTokens,
    sequences: config.model.sequences || WANTED.sequences,
  };
  const answer = whatIf({ board, model: file.shape, kind: file.kind, wanted, here: card?.curve });
  stdout(
    json
      ? `${JSON.stringify(asJson(board.id, file.name, answer), undefined, 2)}\n`
      : asText(board.name, file.name, answer),
  );
  return answer.plan.fits ? EXIT.ok : EXIT.failed;
}

function asJson(board: string, model: string, { plan, here, notes, ...speeds }: WhatIf): object {
  return {
    board,
    model,
    estimate: true,
    fits: plan.fits,
    context_tokens: plan.contextTokens,
    batch_tokens: plan.batchTokens,
    sequences: plan.sequences,
    memory_bytes: Math.round(plan.predictedRssBytes),
    prefill_tokens_per_second: rounded(speeds.prefillTokensPerSecond),
    decode_tokens_per_second: rounded(speeds.decodeTokensPerSecond),
    classify_ms: rounded(speeds.classifyMs),
    ...(here && {
      measured_here: {
        prefill_tokens_per_second: here.prefillTokensPerSecond,
        decode_tokens_per_second: here.decodeTokensPerSecond,
      },
    }),
    notes,
  };
}

function asText(board: string, model: string, answer: WhatIf): string {
  const { plan, prefillTokensPerSecond, decodeTokensPerSecond, classifyMs, notes } = answer;
  return [
    `${model} on ${board} (estimates)`,
    `  memory    ${plan.fits ? "fits" : "does not fit"}: ${plan.reason}`,
    `  reading   about ${prefillTokensPerSecond.toPrecision(2)} tok/s`,
    ...(decodeTokensPerSecond === undefined ? [] : [`  writing   about ${decodeTokensPerSecond.toPrecision(2)} tok/s`]),
    `  classify  about ${classifyMs.toFixed(0)} ms a message of 30 tokens`,
    "",
    ...notes.map((note) => `  - ${note}`),
    "",
  ].join("\n");
}

const rounded = (value: number | undefined) => (value === undefined ? undefined : Math.round(value * 10) / 10);
