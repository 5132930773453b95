#!/usr/bin/env bash
# All checks and tests. Installs what is missing inside the checkout (npm packages, models), skips with a stated reason what
# the machine lacks, and ends with "N passed, N failed, N skipped". With PIPIT_TEST_COMPLETE=1 (CI) nothing may be skipped but
# what the machine's kernel refuses. Tests in booted containers (root, systemd-nspawn, mmdebstrap, Ansible) run with
# PIPIT_TEST_SYSTEM=ci (10 minutes on 2 cores; as in .ci/run) or PIPIT_TEST_SYSTEM=full (every case, more boards and power cuts).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = "--help" ]; then
  sed -n '2,5s/^# //p' "$0"
  exit 0
fi
. scripts/setup.sh

require_node
install_packages
build
for model in smollm2-135m-instruct-q4_1 all-minilm-l6-v2-q8_0; do fetch_model "$model"; done

failed=()
check() { # name, command
  local name=$1
  shift
  echo "── $name"
  "$@" || failed+=("$name")
}
check "types of the tests" npx tsc -p test
check "lint" npx eslint src test
check "format" npx prettier --check --log-level warn src test
check "generated documents" node scripts/generate-config-docs.mjs --check

projects=(--project unit --project fuzz --project integration --project model --project chaos)
if [ -n "${PIPIT_TEST_SYSTEM:-}" ]; then projects+=(--project system); fi
results=.cache/test-results.json
mkdir -p .cache && rm -f "$results"
check "tests" npx vitest run "${projects[@]}" --reporter=default --reporter=json --outputFile.json="$results" "$@"
node scripts/closing-line.mjs "$results" "${failed[@]}"
