#!/bin/sh
# The fleet from one place, over SSH, with Ansible as the engine and no server:
#
#   scripts/fleet.sh deploy BUNDLE.tar.xz      canary, soak, waves; every board gates and reverts by itself
#   scripts/fleet.sh status [--json]           a table; with --mqtt URL also what the boards say on the bus
#   scripts/fleet.sh rollback [VERSION]
#   scripts/fleet.sh exec COMMAND…             one shell command on every board
#   scripts/fleet.sh config                    configuration and secrets of the inventory
#   scripts/fleet.sh models FILE.gguf [EXAM.jsonl] [exam options]
#   scripts/fleet.sh collect                   logs and verdicts into collected/
# Options before the command: -i INVENTORY  -l LIMIT  --dry-run (with a diff)  --now (not only in the maintenance window)
#   -e KEY=VALUE (any variable: soak_seconds, failure_budget_percent, bandwidth_limit)  --ask-vault-pass
# Exit: 0 done everywhere, 1 stopped or failed somewhere, 75 some boards are lost or wait for their window: run it again.
set -eu
repo=$(cd "$(dirname "$0")/.." && pwd)
deploy=$repo/deploy
usage() { sed -n '3,13s/^# \{0,1\}//p' "$0" >&2; exit 64; }
fail() { echo "fleet.sh: $*" >&2; exit 1; }

json=no
mqtt=
set_options=
while [ $# -gt 0 ]; do
  case $1 in
    -i) set_options="$set_options -i $(realpath "$2")"; shift 2 ;;
    -l) set_options="$set_options --limit $2"; shift 2 ;;
    -e) set_options="$set_options -e $2"; shift 2 ;;
    --dry-run) set_options="$set_options --check --diff"; shift ;;
    --now) set_options="$set_options -e now_please=true"; shift ;;
    --ask-vault-pass) set_options="$set_options --ask-vault-pass"; shift ;;
    -*) usage ;;
    *) break ;;
  esac
done
[ $# -ge 1 ] || usage
command=$1
shift
command -v ansible-playbook >/dev/null || fail "ansible-playbook is missing: apt install ansible-core, or pip install ansible-core"
export ANSIBLE_CONFIG="${ANSIBLE_CONFIG:-$deploy/ansible.cfg}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
play() {
  book=$1
  shift
  # shellcheck disable=SC2086
  ansible-playbook $set_options -e "results=$results" -e upload_folder=/var/tmp/pipit-upload "$@" "$deploy/$book.yml"
}
# Prints the table of what was noted; 75 when boards are lost or waiting.
report() { python3 "$deploy/report.py" "$1" "$json" "$results"; }

case $command in
  deploy)
    [ $# = 1 ] && [ -f "$1" ] || usage
    version=$(tar -xJOf "$1" --wildcards '*/release.env' | sed -n 's/^VERSION=//p')
    [ -n "$version" ] || fail "$1 is no release"
    code=0
    play deploy -e "bundle=$(realpath "$1")" -e "version=$version" >&2 || code=1
    report deploy || [ $code = 1 ] || code=$?
    exit $code
    ;;
  rollback) play rollback ${1:+-e "version=$1"} >&2 || true; report deploy ;;
  status)
    while [ $# -gt 0 ]; do
      case $1 in --json) json=yes; shift ;; --mqtt) mqtt=$2; shift 2 ;; *) usage ;; esac
    done
    play status >"$results/.log" 2>&1 || true
    if [ -n "$mqtt" ]; then
      node "$repo/dist/main.js" status --all --json --broker "$mqtt" >"$results/.mqtt" || [ -s "$results/.mqtt" ] || fail "no answer from $mqtt"
    fi
    report status
    ;;
  exec)
    [ $# -ge 1 ] || usage
    # shellcheck disable=SC2086
    ansible pipit $set_options -m ansible.builtin.shell -a "$*"
    ;;
  config) play config ;;
  models)
    [ $# -ge 1 ] && [ -f "$1" ] || usage
    model=$(realpath "$1")
    exam=
    [ $# -lt 2 ] || exam=$(realpath "$2")
    [ $# -lt 2 ] || shift
    shift
    code=0
    play models -e "model=$model" -e "sha256=$(sha256sum "$model" | cut -d' ' -f1)" -e "exam='$exam'" -e "exam_options='$*'" >&2 || code=1
    report deploy || [ $code = 1 ] || code=$?
    exit $code
    ;;
  collect)
    play collect >&2 || true
    mkdir -p collected && cp -R "$results"/. collected/
    ls collected
    ;;
  *) usage ;;
esac
