#!/usr/bin/env bash
# Pipit in one command: installs, builds, fetches the model, starts an agent with its own broker, asks a question over MQTT,
# classifies a sentence, shows what the agent measured and chose, and stops.
set -euo pipefail
cd "$(dirname "$0")/.."
usage() {
  cat <<'TEXT'
Usage: ./scripts/try.sh [--question "…"] [--keep]

  --question "…"  what to ask (default: What is the capital of France?)
  --keep          leave the agent running and print mosquitto_pub and mosquitto_sub lines to copy
TEXT
}
demo=()
while [ $# -gt 0 ]; do
  case $1 in
    --question) [ $# -ge 2 ] || { usage >&2; exit 64; }; demo+=(--question "$2"); shift 2 ;;
    --keep) demo+=(--keep); shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
done
. scripts/setup.sh

require_node
require_python
install_packages
build
for model in smollm2-135m-instruct-q4_1 all-minilm-l6-v2-q8_0; do fetch_model "$model"; done
exec node dist/main.js demo "${demo[@]}"
