// Reads a file front to back through one small buffer, little-endian, and never past its end: every length that comes
// out of the file is checked against what is left of it before a byte is read or a buffer is made.
import type { FileHandle } from "node:fs/promises";
import { PipitError } from "../core/errors.ts";

const BUFFER_BYTES = 256 * 1024;

export function badModelFile(path: string, what: string, cause?: unknown): PipitError {
  return new PipitError("config", "bad_model_file", `${path}: ${what}`, { cause });
}

export class BoundedReader {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #file: FileHandle;
  readonly #buffer: Buffer;
  /** File position of the buffer's first byte. */
  #base = 0;
  #filled = 0;
  #cursor = 0;

  constructor(file: FileHandle, path: string, sizeBytes: number) {
    this.#file = file;
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, sizeBytes));
  }

  get position(): number {
    return this.#base + this.#cursor;
  }

  get remaining(): number {
    return this.sizeBytes - this.position;
  }

  /** Makes `bytes` (at most the buffer) readable without waiting. */
  async need(bytes: number, what: string): Promise<void> {
    if (this.#filled - this.#cursor >= bytes) return;
    if (bytes > this.remaining) {
      throw badModelFile(
        this.path,
        `${what} needs ${bytes} bytes at ${this.position}, the file ends ${this.remaining} on`,
      );
    }
    this.#buffer.copyWithin(0, this.#cursor, this.#filled);
    this.#base += this.#cursor;
    this.#filled -= this.#cursor;
    this.#cursor = 0;
    while (this.#filled < bytes) {
      const at = this.#base + this.#filled;
      const { bytesRead } = await this.#file.read(this.#buffer, this.#filled, this.#buffer.length - this.#filled, at);
      if (bytesRead === 0) throw badModelFile(this.path, `became shorter while it was read, at byte ${at}`);
      this.#filled += bytesRead;
    }
  }

  /** Bytes that can be taken without `need`. */
  get ready(): number {
    return this.#filled - this.#cursor;
  }

  async skip(bytes: number, what: string): Promise<void> {
    if (bytes > this.remaining) {
      throw badModelFile(
        this.path,
        `${what} takes ${bytes} bytes at ${this.position}, the file ends ${this.remaining} on`,
      );
    }
    const inBuffer = Math.min(bytes, this.ready);
    this.#cursor += inBuffer;
    if (inBuffer === bytes) return;
    this.#base = this.position + bytes - inBuffer;
    this.#cursor = 0;
    this.#filled = 0;
  }

  // The take… calls read what `need` has made ready; asking for more is a slip of ours and throws a RangeError.

  takeU32(): number {
    const value = this.#buffer.readUInt32LE(this.#checked(4));
    return value;
  }

  takeU64(): bigint {
    return this.#buffer.readBigUInt64LE(this.#checked(8));
  }

  takeBytes(bytes: number): Buffer {
    const at = this.#checked(bytes);
    return this.#buffer.subarray(at, at + bytes);
  }

  async u32(what: string): Promise<number> {
    await this.need(4, what);
    return this.takeU32();
  }

  /** A 64-bit count or length that must lie in [0, max]. */
  async count(what: string, max: number): Promise<number> {
    await this.need(8, what);
    return this.takeCount(what, max);
  }

  takeCount(what: string, max: number): number {
    const value = this.takeU64();
    if (value > BigInt(max)) throw badModelFile(this.path, `${what} is ${value}, more than ${max}`);
    return Number(value);
  }

  /** A length-prefixed UTF-8 string of at most `maxBytes`. */
  async text(what: string, maxBytes: number): Promise<string> {
    const bytes = await this.count(`length of ${what}`, Math.min(maxBytes, this.remaining));
    if (bytes <= BUFFER_BYTES) {
      await this.need(bytes, what);
      return this.takeBytes(bytes).toString("utf8");
    }
    const whole = Buffer.alloc(bytes);
    for (let done = 0; done < bytes;) {
      await this.need(1, what);
      const part = Math.min(this.ready, bytes - done);
      this.takeBytes(part).copy(whole, done);
      done += part;
    }
    return whole.toString("utf8");
  }

  #checked(bytes: number): number {
    if (this.ready < bytes) throw new RangeError(`${bytes} bytes asked for, ${this.ready} ready`);
    const at = this.#cursor;
    this.#cursor += bytes;
    return at;
  }
}
