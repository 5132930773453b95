// A disk in memory that writes down every operation, can refuse any of them, and can lose power: `powerCuts` gives
// disks as they may look when the power goes after any operation. What was synced is there; of what was not, any part may
// be: any sectors of any write, in any order, any creation, rename or removal of a name. That is more than real file
// systems do, so whatever survives here survives there.
import type { Disk, DiskFile } from "../../src/journal/disk.ts";
import type { Random } from "./random.ts";

export const SECTOR_BYTES = 512;

interface Inode {
  id: number;
  bytes: Uint8Array;
}

export type DiskOperation =
  | { kind: "create"; name: string; inode: number }
  | { kind: "write"; inode: number; offset: number; bytes: Uint8Array }
  | { kind: "sync"; inode: number }
  | { kind: "rename"; from: string; to: string }
  | { kind: "unlink"; name: string }
  | { kind: "syncDirectory" };

type NameOperation = Extract<DiskOperation, { kind: "create" | "rename" | "unlink" }>;

/** Refuses the operation about to happen by returning an error; a refused write may have written `keepBytes` of its bytes. */
export type Fault = (
  operation: DiskOperation["kind"],
  index: number,
) => { error: NodeJS.ErrnoException; keepBytes?: number } | undefined;

export function diskError(code: "ENOSPC" | "EIO" | "EROFS"): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

export class SimDisk implements Disk {
  /** All that has happened, oldest first. */
  operations: DiskOperation[] = [];
  fault: Fault | undefined;
  /** Syncs of files wait for it, as on a card that tidies up. */
  hang: Promise<void> | undefined;
  /** Operations asked for, also those refused. */
  asked = 0;
  locked = false;
  /** Bytes that fit on it; a write beyond them fails, after a part of it. */
  capacityBytes = Infinity;
  #names = new Map<string, Inode>();
  #nextInode = 1;
  #dead = false;
  /** What the disk looked like before its first operation. */
  #initial: Map<string, Inode>;

  constructor(files: Map<string, Uint8Array> = new Map()) {
    for (const [name, bytes] of files) this.#names.set(name, { id: this.#nextInode++, bytes: bytes.slice() });
    this.#initial = new Map([...this.#names].map(([name, { id, bytes }]) => [name, { id, bytes: bytes.slice() }]));
  }

  /** The same disk for the next process; whoever used this one is dead and never hears from it again. */
  kill(): SimDisk {
    this.#dead = true;
    const next = new SimDisk();
    next.operations = this.operations;
    next.#names = this.#names;
    next.#initial = this.#initial;
    next.#nextInode = this.#nextInode;
    next.capacityBytes = this.capacityBytes;
    return next;
  }

  files(): Map<string, Uint8Array> {
    return new Map([...this.#names].map(([name, inode]) => [name, inode.bytes]));
  }

  /** Begins before the first operation. */
  powerCuts(): PowerCuts {
    return new PowerCuts(this.#initial, this.operations);
  }

  makeDirectory(): Promise<void> {
    return Promise.resolve();
  }

  lock(): Promise<() => Promise<void>> {
    this.locked = true;
    return Promise.resolve(() => {
      this.locked = false;
      return Promise.resolve();
    });
  }

  get usedBytes(): number {
    return [...this.#names.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  freeBytes(): Promise<number> {
    return Promise.resolve(Math.max(0, this.capacityBytes - this.usedBytes));
  }

  list(): Promise<string[]> {
    return Promise.resolve([...this.#names.keys()]);
  }

  read(_: string, name: string): Promise<Uint8Array> {
    return Promise.resolve(this.#inode(name).bytes.slice());
  }

  async create(_: string, name: string): Promise<DiskFile> {
    await this.#do("create", () => {
      if (this.#names.has(name)) throw Object.assign(new Error(`EEXIST: ${name}`), { code: "EEXIST" });
      const made: Inode = { id: this.#nextInode++, bytes: new Uint8Array() };
      this.#names.set(name, made);
      this.operations.push({ kind: "create", name, inode: made.id });
    });
    const inode = this.#inode(name);
    return {
      write: (bytes, offset) =>
        this.#do("write", (keep) => {
          const growthBytes = Math.max(0, offset + bytes.length - inode.bytes.length);
          const missingBytes = Math.max(0, this.usedBytes + growthBytes - this.capacityBytes);
          const fittingBytes = Math.max(0, bytes.length - missingBytes);
          this.#write(inode, bytes.slice(0, Math.min(fittingBytes, keep ?? Infinity)), offset);
          if (missingBytes > 0) throw diskError("ENOSPC");
        }),
      datasync: async () => {
        if (this.hang) await this.hang;
        await this.#do("sync", () => void this.operations.push({ kind: "sync", inode: inode.id }));
      },
      close: () => Promise.resolve(),
    };
  }

  sync(_: string, name: string): Promise<void> {
    return this.#do("sync", () => void this.operations.push({ kind: "sync", inode: this.#inode(name).id }));
  }

  rename(_: string, from: string, to: string): Promise<void> {
    return this.#do("rename", () => {
      this.#names.set(to, this.#inode(from));
      this.#names.delete(from);
      this.operations.push({ kind: "rename", from, to });
    });
  }

  unlink(_: string, name: string): Promise<void> {
    return this.#do("unlink", () => {
      this.#inode(name);
      this.#names.delete(name);
      this.operations.push({ kind: "unlink", name });
    });
  }

  syncDirectory(): Promise<void> {
    return this.#do("syncDirectory", () => void this.operations.push({ kind: "syncDirectory" }));
  }

  #inode(name: string): Inode {
    const inode = this.#names.get(name);
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: ${name}`), { code: "ENOENT" });
    return inode;
  }

  #write(inode: Inode, bytes: Uint8Array, offset: number): void {
    inode.bytes = withWrite(inode.bytes, bytes, offset);
    this.operations.push({ kind: "write", inode: inode.id, offset, bytes });
  }

  /** Takes effect at once and answers a turn of the event loop later, so that calls of that turn share a commit. */
  async #do(kind: DiskOperation["kind"], effect: (keepBytes?: number) => void): Promise<void> {
    if (this.#dead) return new Promise(() => undefined);
    const fault = this.fault?.(kind, this.asked);
    this.asked += 1;
    if (fault === undefined) effect();
    else if (kind === "write" && fault.keepBytes !== undefined) effect(fault.keepBytes);
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#dead) return new Promise(() => undefined);
    if (fault !== undefined) throw fault.error;
  }
}

/** Walks through the operations of a disk and tells what it may look like if the power goes now. */
export class PowerCuts {
  /** Operations that have happened. */
  done = 0;
  readonly #operations: readonly DiskOperation[];
  readonly #safeBytes = new Map<number, Uint8Array>();
  readonly #safeNames = new Map<string, number>();
  readonly #unsafeWrites = new Map<number, { offset: number; bytes: Uint8Array }[]>();
  #unsafeNames: NameOperation[] = [];

  constructor(initial: Map<string, Inode>, operations: readonly DiskOperation[]) {
    this.#operations = operations;
    for (const [name, { id, bytes }] of initial) {
      this.#safeNames.set(name, id);
      this.#safeBytes.set(id, bytes.slice());
    }
  }

  /** One operation on; false when there was none left. */
  forward(): boolean {
    const operation = this.#operations[this.done];
    if (operation === undefined) return false;
    this.done += 1;
    this.#apply(operation);
    return true;
  }

  /** A part of what is not synced survives: `share` is the probability of each sector, size and name. */
  cut(share: number, random: Random): SimDisk {
    const survives = (): boolean => random.chance(share);
    const names = new Map(this.#safeNames);
    for (const change of this.#unsafeNames) if (survives()) rename(names, change);
    return new SimDisk(new Map([...names].map(([name, inode]) => [name, this.#bytesOf(inode, survives)])));
  }

  #apply(operation: DiskOperation): void {
    switch (operation.kind) {
      case "write": {
        const writes = this.#unsafeWrites.get(operation.inode) ?? [];
        writes.push(operation);
        this.#unsafeWrites.set(operation.inode, writes);
        return;
      }
      case "sync": {
        let bytes = this.#safeBytes.get(operation.inode) ?? new Uint8Array();
        for (const write of this.#unsafeWrites.get(operation.inode) ?? []) {
          bytes = withWrite(bytes, write.bytes, write.offset);
        }
        this.#safeBytes.set(operation.inode, bytes);
        this.#unsafeWrites.delete(operation.inode);
        return;
      }
      case "syncDirectory":
        for (const change of this.#unsafeNames) rename(this.#safeNames, change);
        this.#unsafeNames = [];
        return;
      case "create":
      case "rename":
      case "unlink":
        this.#unsafeNames.push(operation);
    }
  }

  #bytesOf(inode: number, survives: () => boolean): Uint8Array {
    let bytes = this.#safeBytes.get(inode) ?? new Uint8Array();
    for (const write of this.#unsafeWrites.get(inode) ?? []) {
      // A file may have grown without the bytes: they read as zeros.
      if (survives()) bytes = withWrite(bytes, new Uint8Array(), write.offset + write.bytes.length);
      for (let start = 0; start < write.bytes.length;) {
        const sectorBytes = SECTOR_BYTES - ((write.offset + start) % SECTOR_BYTES);
        const sector = write.bytes.subarray(start, start + sectorBytes);
        if (survives()) bytes = withWrite(bytes, sector, write.offset + start);
        start += sector.length;
      }
    }
    return bytes;
  }
}

function rename(names: Map<string, number>, change: NameOperation): void {
  if (change.kind === "create") names.set(change.name, change.inode);
  if (change.kind === "unlink") names.delete(change.name);
  if (change.kind !== "rename") return;
  const inode = names.get(change.from);
  if (inode === undefined) return;
  names.delete(change.from);
  names.set(change.to, inode);
}

function withWrite(bytes: Uint8Array, written: Uint8Array, offset: number): Uint8Array {
  const grown = new Uint8Array(Math.max(bytes.length, offset + written.length));
  grown.set(bytes);
  grown.set(written, offset);
  return grown;
}
