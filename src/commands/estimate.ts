// `pipit doctor --board pi-4 --model NAME`: what the model would do on a board that is not here. Every figure of it is an
// estimate, and says so.
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { BOARDS } from "../core/boards.ts";
import { correctionKey } from "../core/memory-notes.ts";
import type { MemoryShape } from "../core/memory-plan.ts";
import { type WhatIf, whatIf, type WhatIfInput } from "../core/what-if.ts";
import { CardStore } from "../device/card-store.ts";
import { cpuName } from "../device/inventory.ts";
import { MEMORY_NOTES_FILE, readMemoryNotes } from "../device/memory-notes-store.ts";
import { libraryVersion } from "../engine/library-version.ts";
import { ModelLibrary } from "../models/library.ts";
import { NOTHING } from "../work/model-keeper.ts";
import { ENCODER_SHAPE, WANTED } from "../work/model-specifier.ts";
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
  const { kind, shape: model } = file;
  const encoder = kind === "decoder" ? await encoderBeside(config, library) : undefined;
  const answer = whatIf({
    board,
    model,
    kind,
    wanted: kind === "encoder" ? ENCODER_SHAPE : wantedOf(config),
    ...(encoder && { encoder }),
    ...(card && { here: card.curve }),
    correctionBytes: learntHere(config, file.sha256),
  });
  stdout(
    json
      ? `${JSON.stringify(asJson(board.id, file.name, answer), undefined, 2)}\n`
      : asText(board.name, file.name, answer),
  );
  return answer.plan.fits ? EXIT.ok : EXIT.failed;
}

function wantedOf({ model }: Config): MemoryShape {
  return {
    contextTokens: model.contextTokens || WANTED.contextTokens,
    batchTokens: model.batchTokens || WANTED.batchTokens,
    sequences: model.sequences || WANTED.sequences,
  };
}

/** The configured encoder, if its file is here: an estimate is no reason to fetch it. */
async function encoderBeside({ model }: Config, library: ModelLibrary): Promise<WhatIfInput["encoder"]> {
  if ((model.encoder as string) === NOTHING) return undefined;
  try {
    const { name, header } = await library.find(model.encoder);
    return { name, model: header, wanted: ENCODER_SHAPE };
  } catch {
    return undefined;
  }
}

function learntHere(config: Config, sha256: string): number {
  const { corrections } = readMemoryNotes(join(config.state.dir, MEMORY_NOTES_FILE));
  return corrections[correctionKey(sha256, libraryVersion())] ?? 0;
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
    encoder_classify_ms: rounded(speeds.encoderClassifyMs),
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
  const { plan, prefillTokensPerSecond, decodeTokensPerSecond, classifyMs, encoderClassifyMs, notes } = answer;
  return [
    `${model} on ${board} (estimates)`,
    `  memory    ${plan.fits ? "fits" : "does not fit"}: ${plan.reason}`,
    `  reading   about ${twoDigits(prefillTokensPerSecond)} tok/s`,
    ...(decodeTokensPerSecond === undefined ? [] : [`  writing   about ${twoDigits(decodeTokensPerSecond)} tok/s`]),
    ...(encoderClassifyMs === undefined
      ? []
      : [`  classify  about ${twoDigits(encoderClassifyMs)} ms a message of 30 tokens`]),
    `  ${encoderClassifyMs === undefined ? "classify" : "        "}  about ${twoDigits(classifyMs)} ms by this model alone`,
    "",
    ...notes.map((note) => `  - ${note}`),
    "",
  ].join("\n");
}

const twoDigits = (value: number) => String(Number(value.toPrecision(2)));
const rounded = (value: number | undefined) => (value === undefined ? undefined : Math.round(value * 10) / 10);
