// The version as package.json has it: the one place it is written.
import { readFileSync } from "node:fs";

const file = new URL("../package.json", import.meta.url);
export const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
