// Bounds the memory one connection can claim: reads only the fixed headers of an MQTT byte stream (MQTT 5 §2.1) and says at
// the header, before the body has arrived, that a packet is larger than allowed. aedes itself would collect up to 256 MiB.

export class PacketSizeGuard {
  readonly #maxBytes: number;
  /** Bytes of the current packet still to come; 0 while a header is read. */
  #body = 0;
  /** Bytes of the header read so far: 0 awaits the packet type, 1 to 4 the remaining length. */
  #header = 0;
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** False as soon as a packet is too large, or its length malformed. */
  accept(chunk: Uint8Array): boolean {
    let position = 0;
    while (position < chunk.length) {
      if (this.#body > 0) {
        const taken = Math.min(this.#body, chunk.length - position);
        this.#body -= taken;
        position += taken;
        continue;
      }
      const byte = chunk[position] ?? 0;
      position += 1;
      if (this.#header === 0) {
        this.#header = 1;
        this.#length = 0;
        continue;
      }
      this.#length += (byte & 0x7f) * 128 ** (this.#header - 1);
      if (this.#length > this.#maxBytes) return false;
      if ((byte & 0x80) === 0) {
        this.#body = this.#length;
        this.#header = 0;
      } else if (this.#header === 4) {
        return false;
      } else {
        this.#header += 1;
      }
    }
    return true;
  }
}
