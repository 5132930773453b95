// The package.json of a release: what Node reads at run time (module type, version), nothing of the workshop.
import { readFileSync } from "node:fs";

const [, , file, version] = process.argv;
const { name, type, license, dependencies, optionalDependencies, exports } = JSON.parse(readFileSync(file, "utf8"));
const kept = { name, version, type, private: true, license, exports, dependencies, optionalDependencies };
process.stdout.write(`${JSON.stringify(kept, null, 2)}\n`);
