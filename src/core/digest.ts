// Short names for long texts, so that what a sender chooses (topics, correlation data: up to 64 KiB each) is never kept whole
// as a name. No secret depends on it: whoever makes two texts collide could as well have sent the same text twice.

/** Two FNV-1a hashes of 32 bits, as 16 hexadecimal digits. */
export function digest(bytes: Uint8Array): string {
  return [0x811c9dc5, 0x01000193]
    .map((start) => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, start))
    .map((hash) => hash.toString(16).padStart(8, "0"))
    .join("");
}

/** The text itself up to `most` characters; a longer one as its beginning and its digest, `most` characters in all. */
export function shortened(text: string, most: number): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 17)} ${digest(new TextEncoder().encode(text))}`;
}
