// The engine's child and `dist/main.js` are run as built, because Node 20 runs no TypeScript: build once before any test.
import { execFileSync } from "node:child_process";

export default function build(): void {
  execFileSync("npx", ["tsc"], { stdio: "inherit" });
}
