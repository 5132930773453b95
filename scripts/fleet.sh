#!/usr/bin/env bash
# The fleet from one place, over SSH, with Ansible as the engine and no server of our own. What the boards decide alone
# stands in scripts/pipitctl, what happens between them in deploy/; this file only reads the command line. See --help.
set -euo pipefail
repo=$(cd "$(dirname "$0")/.." && pwd)
deploy=$repo/deploy

overview() {
  cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] COMMAND …

  deploy BUNDLE.tar.xz         a release: canary, soak, waves; every board gates and reverts by itself
  status                       a table: version, model, health, tokens/s, temperature, memory, last answer
  rollback [VERSION]           back to the release before (or VERSION), on all boards at once
  exec COMMAND…                one shell command on every board
  config                       configuration and secrets of the inventory: canary first, tried, kept or taken back
  models FILE.gguf [EXAM.jsonl]   a model: exam on the canary, served at the sites, promoted in waves
  collect [FOLDER]             logs, verdicts and figures of every board into FOLDER (collected)

  -i, --inventory FILE         inventory (deploy/inventory.yml)
  -l, --limit BOARDS           only these boards or groups, as Ansible's --limit
  -e, --set KEY=VALUE          any variable of the inventory: soak_seconds, failure_budget_percent, bandwidth_limit …
      --dry-run                change nothing, show what would change, with a diff
      --now                    also outside of the maintenance window
      --json                   the outcome as JSON on standard output
      --mqtt URL               status: also what the boards say on this broker, and boards that the inventory lacks
      --ask-vault-pass, --vault-password-file FILE   for secrets in an Ansible vault
      --verbose                everything that Ansible says
  -h, --help                   this text, or with a command that command's

Exit: 0 done everywhere; 1 stopped, refused or failed somewhere; 64 wrong usage; 75 some boards are lost, busy or wait for
their window, the rest is done: run it again.
TEXT
}
manual() {
  case $1 in
    deploy) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] deploy BUNDLE.tar.xz

The boards of the group `canary` first. One that refuses, reverts, is lost or waits for its window ends it there. Then
soak_seconds of ordinary work and a second exam, then the waves. After each wave the updated boards are looked at again,
also on their brokers; when more than failure_budget_percent of all boards (one at least) failed or are lost, the rest is
left alone. A second run takes up where the first one ended.
Variables: soak_seconds (600), waves (["10%", "50%", "100%"]), failure_budget_percent (10), maintenance_window
("HHMM-HHMM" of the board's clock, empty: always), bandwidth_limit (KiB/s, 0: none).
TEXT
      ;;
    status) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] status [--json] [--mqtt URL]

One line a board. What it runs comes over SSH, what its agent says of itself from the board's own broker. With --mqtt URL
the broker is asked from here too: boards without SSH, and agents that the inventory does not know, are then seen as well.
User and password of that broker: PIPIT_BROKER_USERNAME, PIPIT_BROKER_PASSWORD_FILE. Exit 0 when all are healthy.
TEXT
      ;;
    rollback) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] rollback [VERSION]

Every board goes back to the release that it ran before, or to VERSION, which must still lie there (two are kept), and
examines itself as after an update.
TEXT
      ;;
    exec) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] exec COMMAND…

Runs the rest of the line in a shell on every board, as root when the inventory says ansible_become. Options stand before
`exec`. Exit 1 when it failed on one board.
TEXT
      ;;
    config) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] config

pipit_config, pipit_config_group and pipit_config_host are merged in this order; pipit_secrets (from a vault) become
credentials of the service. Each board checks the whole, tries it with its golden questions and keeps it or takes it back.
Canary first, then waves, within failure_budget_percent. --dry-run shows the diff.
TEXT
      ;;
    models) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] models FILE.gguf [EXAM.jsonl] [--min-score S] [--min-speed T]

Each board loads the model within its memory plan and sits the exam (form: pipit exam --help; default: the board's golden
questions). Below S (share of right answers, 0 to 1; default 1) or T (tokens/s; default any) it goes back to its model, and
keeps the verdict. Canary first; only then do the others get the file: over the LAN from their site_relay, else from here.
TEXT
      ;;
    collect) cat <<'TEXT'
usage: scripts/fleet.sh [OPTIONS] collect [FOLDER]

FOLDER/<board>/ gets status.json, pipit.yaml, journal.log of two days, history.jsonl with every verdict, and logs of failed
updates. No secrets, and no texts of questions unless the board logs at level debug.
TEXT
      ;;
    *) overview ;;
  esac
}
fail() { echo "fleet.sh: $*" >&2; exit 1; }
wrong() { echo "fleet.sh: $*; see --help" >&2; exit 64; }
is_json() { python3 -c 'import json, sys; json.loads(sys.argv[1])' "$1" 2>/dev/null; }

number='^[0-9]+(\.[0-9]+)?$'
json=no verbose=no mqtt='' inventory='' limit=() command='' help=no ansible=() words=() exam_options=()
while [ $# -gt 0 ]; do
  # What follows `exec` is the board's command.
  if [ "$command" = exec ] && [ $help = no ] && [ "$1" != --help ]; then words=("$@"); break; fi
  case $1 in
    -h | --help) help=yes; shift; continue ;;
    --dry-run) ansible+=(--check --diff); shift; continue ;;
    --now) ansible+=(-e now_please=true); shift; continue ;;
    --json) json=yes; shift; continue ;;
    --verbose) verbose=yes; shift; continue ;;
    --ask-vault-pass) ansible+=("$1"); shift; continue ;;
    -i | --inventory | -l | --limit | -e | --set | --mqtt | --vault-password-file | --min-score | --min-speed)
      [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    -*) wrong "unknown option $1" ;;
    *) if [ -z "$command" ]; then command=$1; else words+=("$1"); fi; shift; continue ;;
  esac
  case $1 in
    -i | --inventory) inventory=$2 ;;
    -l | --limit) limit=(--limit "$2") ;;
    -e | --set)
      case $2 in
        "{"*) is_json "$2" || wrong "$1 takes KEY=VALUE or a JSON object, got $2" ;;
        [A-Za-z_]*=*) ;;
        *) wrong "$1 takes KEY=VALUE or a JSON object, got $2" ;;
      esac
      ansible+=(-e "$2")
      ;;
    --mqtt) mqtt=$2; [[ $2 =~ ^(mqtts?|wss?)://. ]] || wrong "--mqtt takes an mqtt:, mqtts:, ws: or wss: URL, got $2" ;;
    --vault-password-file)
      [ -r "$2" ] || wrong "--vault-password-file: cannot read $2"
      [ -s "$2" ] || wrong "--vault-password-file: $2 is empty"
      ansible+=("$1" "$2")
      ;;
    --min-score) [[ $2 =~ ^(0?\.[0-9]+|[01](\.0+)?)$ ]] || wrong "$1 takes a share of right answers from 0 to 1, got $2"; exam_options+=("$1" "$2") ;;
    --min-speed) [[ $2 =~ $number ]] || wrong "$1 takes tokens a second from 0, got $2"; exam_options+=("$1" "$2") ;;
  esac
  shift 2
done
[ $help = no ] || { manual "$command"; exit 0; }
[ -n "$command" ] || { overview >&2; exit 64; }
case $command in deploy | status | rollback | exec | config | models | collect) ;; *) wrong "unknown command $command" ;; esac
[ "$command" = models ] || [ ${#exam_options[@]} = 0 ] || wrong "${exam_options[0]} belongs to models"
[ "$command" = status ] || [ -z "$mqtt" ] || wrong "--mqtt belongs to status"
check_exam() { # file
  [ -r "$1" ] || fail "no such exam: $1"
  local fault
  fault=$(python3 - "$1" 2>&1 <<'PYTHON'
import json, sys
lines = [(number, line) for number, line in enumerate(open(sys.argv[1], encoding="utf-8"), 1) if line.strip()]
if not lines:
    sys.exit("it asks nothing")
for number, line in lines:
    try:
        task = dict(json.loads(line)).get("task")
    except (ValueError, TypeError):
        sys.exit(f"line {number} is no JSON object: {line.strip()[:80]}")
    if task not in ("answer", "classify"):
        sys.exit(f"line {number}: task must be answer or classify, got {task!r}")
PYTHON
  ) || fail "the exam $1: ${fault##*$'\n'}"
}
takes() { # least most what
  [ ${#words[@]} -ge "$1" ] && [ ${#words[@]} -le "$2" ] || wrong "$command takes $3, got ${words[*]:-nothing}"
}

inventory=${inventory:-$deploy/inventory.yml}
[ -e "$inventory" ] || fail "no inventory $inventory: copy deploy/inventory.example.yml, or name one with -i"
needs_rsync() { command -v rsync >/dev/null || fail "rsync is missing here: apt install rsync"; }
export ANSIBLE_CONFIG=${ANSIBLE_CONFIG:-$deploy/ansible.cfg}
[ $verbose = no ] || export ANSIBLE_STDOUT_CALLBACK=default
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# Boards that are not in the inventory are an error here, where Ansible warns and goes on with the others.
check_boards() {
  export ANSIBLE_HOST_PATTERN_MISMATCH=error ANSIBLE_INVENTORY_UNPARSED_FAILED=true
  local said name
  said=$(ansible -i "$inventory" pipit --list-hosts ${limit[@]+"${limit[@]}"} 2>&1) || {
    name=$(sed -n 's/.*Could not match supplied host pattern, ignoring: //p' <<<"$said")
    case $said in
      # An inventory that is a vault itself is opened only once, by the playbook.
      *ecrypt*) return ;;
      *"No inventory was parsed"*) fail "$inventory is no inventory: $(tr '\n' ' ' <<<"$said" | sed 's/.*YAML\. *//; s/ *The offending.*//')" ;;
      *"leaves us with no hosts"*) fail "--limit ${limit[1]} leaves no board of $inventory" ;;
    esac
    [ -n "$name" ] && fail "--limit: $inventory names no board or group $name"
    fail "$said"
  }
  case $said in
    *"hosts (0)"*) fail "$inventory names no board in the group pipit: see deploy/inventory.example.yml" ;;
  esac
}
# Progress goes to standard error; what came of it is told by report.py on standard output. Variables are given as KEY=VALUE.
play() {
  command -v ansible-playbook >/dev/null || fail "ansible-playbook is missing: apt install ansible-core, or pip install ansible-core"
  book=$1
  shift
  check_boards
  # As JSON, because Ansible would split KEY=VALUE at the spaces of a path.
  python3 -c 'import json, sys; print(json.dumps(dict(word.split("=", 1) for word in sys.argv[1:])))' \
    "results=$results" upload_folder=/var/lib/pipit-upload "$@" >"$results/.given"
  { ansible-playbook -i "$inventory" ${limit[@]+"${limit[@]}"} ${ansible[@]+"${ansible[@]}"} -e "@$results/.given" "$deploy/$book.yml" \
    2>&1 >&3 | tee "$results/.errors" >&2; } 3>&2
}
# After a play: its exit code counts when boards cannot tell it themselves.
conclude() { # code of the play
  code=0
  case $(cat "$results/.errors") in
    *"no vault secrets found"*) echo "fleet.sh: the inventory has a vault: give --ask-vault-pass or --vault-password-file" >&2 ;;
    *"Decryption failed"*) echo "fleet.sh: the vault password is not the one that the vault was made with" >&2 ;;
  esac
  python3 "$deploy/report.py" "$command" $json "$results" || code=$?
  [ "$1" = 0 ] || [ $code = 75 ] || code=1
  exit $code
}

case $command in
  deploy)
    takes 1 1 "one BUNDLE.tar.xz"
    bundle=${words[0]}
    [ -f "$bundle" ] || fail "no such bundle: $bundle"
    # The first file that is asked for ends the reading, so tar's complaint about the closed pipe means nothing.
    version=$( (tar -xJOf "$bundle" --occurrence=1 --wildcards '*/release.env' 2>/dev/null || true) | sed -n 's/^VERSION=//p')
    [ -n "$version" ] || fail "$bundle is no release: it holds no release.env with a VERSION"
    needs_rsync
    code=0
    play deploy "bundle=$(realpath "$bundle")" "version=$version" || code=$?
    conclude $code
    ;;
  rollback)
    takes 0 1 "at most one VERSION"
    code=0
    play rollback "version=${words[0]:-}" || code=$?
    conclude $code
    ;;
  status)
    takes 0 0 "no argument"
    [ -z "$mqtt" ] || [ -f "$repo/dist/main.js" ] || fail "--mqtt needs the built app: npm ci && npm run build"
    code=0
    play status || code=$?
    if [ -n "$mqtt" ]; then
      # Exit 1 says that some are offline, which the table shows.
      node "$repo/dist/main.js" status --all --json --broker "$mqtt" >"$results/.mqtt" || [ -s "$results/.mqtt" ] || {
        # What was seen over SSH is told all the same.
        echo "fleet.sh: no answer from the broker $mqtt" >&2
        rm "$results/.mqtt"
        code=1
      }
    fi
    conclude $code
    ;;
  exec)
    takes 1 1000 "a command for the boards"
    code=0
    # A file, because what Ansible is given as a variable it would read as a template.
    printf '%s' "${words[*]}" >"$results/.line"
    play exec || code=$?
    conclude $code
    ;;
  config)
    takes 0 0 "no argument"
    code=0
    play config || code=$?
    conclude $code
    ;;
  models)
    takes 1 2 "FILE.gguf and at most one EXAM.jsonl"
    model=${words[0]}
    exam=${words[1]:-}
    [ -f "$model" ] || fail "no such model file: $model"
    [ "$(head -c 4 "$model")" = GGUF ] || fail "$model is no GGUF file"
    [ -z "$exam" ] || check_exam "$exam"
    needs_rsync
    code=0
    play models "model=$(realpath "$model")" "sha256=$(sha256sum "$model" | cut -d' ' -f1)" \
      "exam=${exam:+$(realpath "$exam")}" "exam_options=${exam_options[*]:-}" || code=$?
    conclude $code
    ;;
  collect)
    takes 0 1 "at most one FOLDER"
    folder=$(realpath -m "${words[0]:-collected}")
    mkdir -p "$folder" 2>/dev/null || fail "cannot make the folder $folder"
    code=0
    play collect "folder=$folder" || code=$?
    conclude $code
    ;;
esac
