// Version of the native library: speeds and saved prefixes of one are not those of another.
import { readFileSync } from "node:fs";

export function libraryVersion(): string {
  const manifest = new URL("../package.json", import.meta.resolve("node-llama-cpp"));
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}
