// The file format of a trained head: JSON with the numbers as little-endian float32 in base64, and a digest of all of it.
import { createHash } from "node:crypto";
import type { HeadVersion } from "../core/head-store.ts";

const FORMAT = "pipit-head-1";

export function headVersionText({ vectors, head, ...rest }: HeadVersion): string {
  const dimensions = head.weights[0]?.length ?? 0;
  const body = JSON.stringify({
    ...rest,
    dimensions,
    vectors: packed(vectors),
    head: { ...head, weights: packed(head.weights) },
  });
  return `${JSON.stringify({ format: FORMAT, sha256: digest(body) })}\n${body}\n`;
}

/** Throws with what is wrong when the file is not whole. */
export function headVersionFrom(text: string): HeadVersion {
  const [first = "", body = ""] = text.split("\n", 2);
  const { format, sha256 } = JSON.parse(first) as { format?: unknown; sha256?: unknown };
  if (format !== FORMAT) throw new Error(`format is ${JSON.stringify(format)}, not ${FORMAT}`);
  // Nobody but this program writes the file: if the digest is right, so are the fields.
  if (sha256 !== digest(body)) throw new Error("its content does not match its digest");
  const { dimensions, vectors, head, ...rest } = JSON.parse(body) as Stored;
  return {
    ...rest,
    vectors: unpacked(vectors, dimensions),
    head: { ...head, weights: unpacked(head.weights, dimensions) },
  };
}

type Stored = Omit<HeadVersion, "vectors" | "head"> & {
  dimensions: number;
  vectors: string;
  head: Omit<HeadVersion["head"], "weights"> & { weights: string };
};

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function packed(rows: readonly Float32Array[]): string {
  const bytes = Buffer.alloc(rows.reduce((sum, own) => sum + own.length * 4, 0));
  let at = 0;
  for (const own of rows) for (const value of own) at = bytes.writeFloatLE(value, at);
  return bytes.toString("base64");
}

function unpacked(text: string, columns: number): Float32Array[] {
  const bytes = Buffer.from(text, "base64");
  const rows = columns === 0 ? 0 : bytes.length / (4 * columns);
  return Array.from({ length: rows }, (_, row) =>
    Float32Array.from({ length: columns }, (_, column) => bytes.readFloatLE(4 * (row * columns + column))),
  );
}
