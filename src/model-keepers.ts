// The models of an agent, each kept loaded on its own: one that writes, one that turns texts into vectors, and those that
// classifiers name. They share a process and so its memory: what one takes is not there for the others, and where they do not
// all fit the one that writes stays, unless its ladder ends in `none`.
import { join } from "node:path";
import type { Config } from "./config/schema.ts";
import { correctionKey } from "./core/memory-notes.ts";
import type { ModelFile } from "./core/model-file.ts";
import type { Clock, Engine, Logger } from "./core/ports.ts";
import { repackedTypes } from "./device/inventory.ts";
import { FileMemoryNotes, MEMORY_NOTES_FILE } from "./device/memory-notes-store.ts";
import { libraryVersion } from "./engine/library-version.ts";
import { ModelLibrary } from "./models/library.ts";
import { ModelKeeper, type ModelKeeperOptions, NOTHING } from "./work/model-keeper.ts";
import { ENCODER_SHAPE, WANTED } from "./work/model-specifier.ts";

type Shared = Pick<ModelKeeperOptions, "isIdle" | "onChange" | "readings" | "stopQuestions" | "tokens">;

export interface KeeperRooms extends Shared {
  config: Config;
  /** Encoders that classifiers name. */
  encoders: readonly string[];
  engine: Engine;
  /** Resolves when the calibration, which is no question, has let go of the engine. */
  interruptCalibration: () => Promise<void>;
  /** The generative model's share of the plan is known: the governor publishes it. */
  onDecoderPlan: NonNullable<ModelKeeperOptions["onPlan"]>;
  clock: Clock;
  log: Logger;
}

export class ModelKeepers {
  readonly decoder: ModelKeeper;
  readonly #encoders = new Map<string, ModelKeeper>();
  readonly #rooms: KeeperRooms;
  #lastLoad: Promise<unknown> = Promise.resolve();

  constructor(rooms: KeeperRooms) {
    const { model } = rooms.config;
    this.#rooms = rooms;
    this.decoder = this.#keepDecoder();
    for (const name of new Set([model.encoder, ...rooms.encoders])) {
      if (name !== NOTHING) this.#encoders.set(name, this.#keepEncoder(name));
    }
  }

  /** Of that name; without one the common encoder, undefined when the configuration wants none. */
  encoder(model: string = this.#rooms.config.model.encoder): ModelKeeper | undefined {
    return this.#encoders.get(model);
  }

  /** In the order they are loaded. */
  get all(): readonly ModelKeeper[] {
    return [...this.#encoders.values(), this.decoder];
  }

  /** The engine's process has died. The kernel kills for the sake of the larger model. */
  noteDeath(killed: boolean): void {
    const largest = this.decoder.bytes.planned > 0 ? this.decoder : this.#encoders.values().next().value;
    for (const keeper of this.all) keeper.noteDeath(killed && keeper === largest);
  }

  #keepDecoder(): ModelKeeper {
    const { model } = this.#rooms.config;
    const ladder: readonly string[] = model.ladder;
    const wanted = {
      contextTokens: model.contextTokens || WANTED.contextTokens,
      batchTokens: model.batchTokens || WANTED.batchTokens,
      sequences: model.sequences || WANTED.sequences,
    };
    return this.#keep("decoder", {
      rungs: [model.name, ...ladder],
      wanted,
      onPlan: this.#rooms.onDecoderPlan,
      others: () => ({ ...this.#bytesBeside(this.decoder), yield: !ladder.includes(NOTHING), goFirst: false }),
      makeRoom: async (reason) => {
        for (const encoder of this.#encoders.values()) await encoder.makeRoom(reason);
      },
    });
  }

  #keepEncoder(name: string): ModelKeeper {
    const keeper: ModelKeeper = this.#keep("encoder", {
      rungs: [name],
      wanted: ENCODER_SHAPE,
      others: () => ({ ...this.#bytesBeside(keeper), yield: false, goFirst: this.decoder.bytes.planned > 0 }),
    });
    return keeper;
  }

  #keep(
    kind: ModelKeeperOptions["kind"],
    own: Pick<ModelKeeperOptions, "rungs" | "wanted" | "others"> & Partial<ModelKeeperOptions>,
  ): ModelKeeper {
    const { config, engine, clock, log } = this.#rooms;
    const { model, governor, state } = config;
    const library = new ModelLibrary({ directory: model.dir, catalogFile: model.catalogueFile });
    const common = {
      ...this.#rooms,
      kind,
      repackedTypes: repackedTypes(governor.sensorsRoot),
      unloadAfterMs: model.idleUnloadS * 1000,
      obtain: (name: string, onProgress: (fraction: number) => void, signal: AbortSignal) =>
        library.obtain(name, { onProgress, onNote: (line) => log.info({ model: name }, line), signal }),
      notes: new FileMemoryNotes(join(state.dir, MEMORY_NOTES_FILE), log),
      noteKey: ({ sha256 }: ModelFile) => correctionKey(sha256, libraryVersion()),
      oneByOne: <T>(load: () => Promise<T>) => this.#oneByOne(load),
    };
    return new ModelKeeper({ ...common, ...own }, engine, clock, log);
  }

  #bytesBeside(keeper: ModelKeeper): { plannedBytes: number; loadedBytes: number } {
    const others = this.all.filter((other) => other !== keeper).map(({ bytes }) => bytes);
    return {
      plannedBytes: others.reduce((sum, { planned }) => sum + planned, 0),
      loadedBytes: others.reduce((sum, { loaded }) => sum + loaded, 0),
    };
  }

  #oneByOne<T>(load: () => Promise<T>): Promise<T> {
    const next = this.#lastLoad.then(() => this.#rooms.interruptCalibration()).then(load);
    this.#lastLoad = next.catch(() => {});
    return next;
  }
}
