// Prints why tests were skipped and the closing line; exits 1 when anything failed, or was skipped where nothing may be. Only
// what the kernel of a machine refuses (containers, foreign programs) is no failure there: no package would mend it.
// Usage: node closing-line.mjs RESULTS.json [failed check…]
import { readFileSync } from "node:fs";

const [file, ...checks] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, "utf8"));
const tests = testResults.flatMap(({ assertionResults }) => assertionResults);
// A file that cannot even be loaded has no tests to count, and is a failure.
const brokenFiles = testResults.filter(({ status, assertionResults }) => status === "failed" && assertionResults.length === 0);
const count = (...statuses) => tests.filter(({ status }) => statuses.includes(status)).length;

const passed = count("passed");
const skipped = tests.filter(({ status }) => ["skipped", "pending", "todo", "disabled"].includes(status));
const otherChecks = checks.filter((name) => name !== "tests");
const failed = count("failed") + brokenFiles.length + otherChecks.length;
for (const name of otherChecks) console.log(`failed: ${name}`);
for (const { name } of brokenFiles) console.log(`failed to load: ${name}`);
for (const { fullName } of skipped) console.log(`skipped: ${fullName}`);
console.log(`${passed} passed, ${failed} failed, ${skipped.length} skipped`);
const refusedByKernel = ({ fullName }) => /\(skipped: no (container boots|arm64 program runs) here: /.test(fullName);
const mustBeComplete = process.env.PIPIT_TEST_COMPLETE === "1";
process.exit(failed > 0 || passed === 0 || (mustBeComplete && !skipped.every(refusedByKernel)) ? 1 : 0);
