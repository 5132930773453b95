// CRC-32C (Castagnoli, as in iSCSI and ext4): finds every burst of up to 32 flipped bits. Not a signature.

const POLYNOMIAL = 0x82f63b78;

const TABLE = new Uint32Array(256).map((_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** The checksum of `bytes[start, end)`, continued from `crc`, which is 0 or an earlier result. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, crc = 0): number {
  let state = ~crc;
  for (let index = start; index < end; index++) {
    state = (state >>> 8) ^ (TABLE[(state ^ (bytes[index] ?? 0)) & 0xff] ?? 0);
  }
  return ~state >>> 0;
}
