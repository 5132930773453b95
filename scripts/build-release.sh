#!/bin/sh
# Builds self-contained releases: Node runtime, built app, production modules of one architecture, units, device tools,
# a manifest with the SHA-256 of each file, its signature, an SBOM; as .tar.xz and as .deb. The same commit gives the same
# bytes (times from SOURCE_DATE_EPOCH or the commit; ed25519 signatures are deterministic). xz, because a stock Debian 12
# or Raspberry Pi OS has it and zstd is optional there.
#
#   scripts/build-release.sh --arch arm64|x64|armv7 [--arch …] [--out DIR] [--version V] [--key SSH_KEY] [--no-deb] [--fast] [--tree]
set -eu
umask 022
export LC_ALL=C

repo=$(cd "$(dirname "$0")/.." && pwd)
out=$repo/release
version=
key=${PIPIT_SIGNING_KEY:-}
arches=
deb=yes
level=9
packed=yes
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pipit-build

fail() { echo "build-release: $*" >&2; exit 1; }
usage() { sed -n '2,6s/^# *//p; /^#   scripts/s/^# */usage: /p' "$0"; }
wrong() { echo "build-release: $*; see --help" >&2; exit 64; }
while [ $# -gt 0 ]; do
  case $1 in
    --arch | --out | --version | --key) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
  esac
  case $1 in
    --arch) arches="$arches $2"; shift 2 ;;
    --out) mkdir -p "$2"; out=$(cd "$2" && pwd); shift 2 ;;
    --version) version=$2; shift 2 ;;
    --key) key=$2; shift 2 ;;
    --no-deb) deb=no; shift ;;
    # For tests: a quick, larger archive.
    --fast) level=0; shift ;;
    # For tests: the signed tree, unpacked, instead of archives.
    --tree) packed=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "unknown option $1" ;;
  esac
done
[ -n "$arches" ] || wrong "--arch is missing"
for arch in $arches; do
  case $arch in arm64 | x64 | armv7) ;; *) wrong "--arch must be arm64, x64 or armv7, got $arch" ;; esac
done
[ -z "$key" ] || [ -r "$key" ] || fail "cannot read the key $key"
for tool in node npm tar xz sha256sum ssh-keygen; do command -v $tool >/dev/null || fail "$tool is missing"; done
[ "$deb" = no ] || command -v dpkg-deb >/dev/null || fail "dpkg-deb is missing (or use --no-deb)"
[ -x "$repo/node_modules/.bin/tsc" ] || fail "run npm ci first"
[ -n "$version" ] || version=$(node -p 'require(process.argv[1]).version' "$repo/package.json")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$repo" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d "${TMPDIR:-/tmp}/pipit-release.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$out" "$cache"

# The app, the same for every architecture.
(cd "$repo" && node_modules/.bin/tsc --outDir "$work/dist" --declaration false --incremental false)
# The version of the journal's format decides which releases may follow which.
echo '{ "type": "module" }' >"$work/package.json"
schema=$(cd "$work" && node -e 'import("./dist/journal/segment.js").then((m) => console.log(m.FORMAT_VERSION))')
case $schema in "" | *[!0-9]*) fail "the journal names no FORMAT_VERSION" ;; esac

# runtime ARCH DIR: the Node binary as its npm package carries it, byte for byte; the package must match its pinned hash.
runtime() {
  line=$(grep "^$1 " "$repo/scripts/release/node-runtime.txt") || fail "no Node runtime is known for $1"
  # shellcheck disable=SC2086
  set -- $line "$2"
  archive=$cache/$2-$3.tgz
  if [ ! -f "$archive" ]; then
    (cd "$work" && npm pack --silent "$2@$3" >/dev/null) && mv "$work/$2-$3.tgz" "$archive.new" && mv "$archive.new" "$archive"
  fi
  found=sha512-$(node -p 'require("node:crypto").createHash("sha512").update(require("node:fs").readFileSync(process.argv[1])).digest("base64")' "$archive")
  [ "$found" = "$4" ] || fail "$2@$3 has $found, expected $4; remove $archive"
  mkdir -p "$5/bin" "$5/share/doc"
  tar -xzf "$archive" -C "$work" package/bin/node package/LICENSE
  mv "$work/package/bin/node" "$5/bin/node"
  mv "$work/package/LICENSE" "$5/share/doc/LICENSE.node"
}

# modules ARCH DIR: production modules for one architecture, without what no run needs. Kept by lock file.
modules() {
  case $1 in armv7) cpu=arm ;; *) cpu=$1 ;; esac
  stamp=$(cat "$repo/package.json" "$repo/package-lock.json" "$repo/scripts/release/prune-modules.sh" | sha256sum | cut -c1-16)
  kept=$cache/modules-$1-$stamp
  if [ ! -d "$kept" ]; then
    mkdir -p "$work/npm"
    cp "$repo/package.json" "$repo/package-lock.json" "$work/npm/"
    (cd "$work/npm" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --silent --os=linux --cpu="$cpu" --libc=glibc)
    sh "$repo/scripts/release/prune-modules.sh" "$work/npm/node_modules"
    mv "$work/npm/node_modules" "$kept.new" && mv "$kept.new" "$kept"
    rm -rf "$work/npm"
  fi
  cp -a "$kept" "$2"
}

# native ARCH DIR: every native file is built for the architecture (ELF class and machine). An npm package can be wrong:
# node-llama-cpp 3.22.1 ships 64-bit files as linux-armv7l.
native() {
  case $1 in armv7) wanted="01 28" ;; arm64) wanted="02 b7" ;; x64) wanted="02 3e" ;; esac
  find "$2/app" "$2/bin/node" -type f \( -name '*.node' -o -name '*.so' -o -name node \) | while read -r file; do
    found=$(od -An -tx1 -N 19 "$file" | tr -d '\n' | awk '{ print $5, $19 }')
    [ "$found" = "$wanted" ] || fail "${file#"$2"/} is not built for $1 (ELF class and machine $found, expected $wanted)"
  done
}

# tree ARCH DIR: everything a release holds, but the manifest.
tree() {
  mkdir -p "$2/app" "$2/systemd" "$2/share/doc"
  runtime "$1" "$2"
  modules "$1" "$2/app/node_modules"
  native "$1" "$2"
  cp -R "$work/dist" "$2/app/dist"
  cp -R "$repo/config" "$2/app/config"
  node "$repo/scripts/release/app-package.mjs" "$repo/package.json" "$version" >"$2/app/package.json"
  cp "$repo/scripts/release/pipit" "$repo/scripts/pipitctl" "$2/bin/"
  cp "$repo"/systemd/* "$2/systemd/"
  cp "$repo/scripts/release/install.sh" "$repo/scripts/release/uninstall.sh" "$repo/scripts/release/golden.jsonl" "$2/"
  for paper in docs/install.md docs/fleet.md docs/raspberry-pi.md LICENSE; do
    [ ! -f "$repo/$paper" ] || cp "$repo/$paper" "$2/share/doc/"
  done
  printf 'VERSION=%s\nARCH=%s\nSCHEMA=%s\nGLIBC=%s\nNODE=%s\nCOMMIT=%s\n' "$version" "$1" "$schema" 2.28 \
    "$(grep "^$1 " "$repo/scripts/release/node-runtime.txt" | cut -d' ' -f3)" "$(git -C "$repo" rev-parse HEAD)" >"$2/release.env"
  node "$repo/scripts/release/sbom.mjs" "$2" "$repo/package-lock.json" >"$2/sbom.cdx.json"
  odd=$(find "$2" ! -type f ! -type d | head -n 1)
  [ -z "$odd" ] || fail "a release holds regular files only, not $odd"
  find "$2" -type d -exec chmod 755 {} + && find "$2" -type f -exec chmod 644 {} + && chmod 755 "$2"/bin/* "$2"/*.sh
}

# sign DIR: manifest of the tree, and its signature when there is a key.
sign() {
  [ -z "$key" ] || printf 'release@pipit namespaces="pipit-release" %s\n' "$(ssh-keygen -y -f "$key" | cut -d' ' -f1,2)" >"$1/allowed_signers"
  (cd "$1" && find . -type f ! -path ./MANIFEST ! -path ./MANIFEST.sig | sort | xargs -d '\n' sha256sum) >"$work/MANIFEST"
  mv "$work/MANIFEST" "$1/MANIFEST"
  if [ -n "$key" ]; then ssh-keygen -q -Y sign -f "$key" -n pipit-release "$1/MANIFEST" 2>/dev/null || fail "cannot sign with $key"; else echo "build-release: no --key: the release is unsigned, and devices refuse it" >&2; fi
}

for arch in $arches; do
  name=pipit-$version-$arch
  rm -rf "${work:?}/$name"
  tree "$arch" "$work/$name"
  sign "$work/$name"
  if [ $packed = no ]; then
    rm -rf "${out:?}/$name" && cp -a "$work/$name" "$out/"
    continue
  fi
  (cd "$work" && tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" | xz -T1 "-$level" >"$out/$name.tar.xz.new")
  mv "$out/$name.tar.xz.new" "$out/$name.tar.xz"
  echo "$out/$name.tar.xz $(($(stat -c %s "$out/$name.tar.xz") / 1024)) KiB, unpacked $(du -sk "$work/$name" | cut -f1) KiB"
  [ "$deb" = no ] || sh "$repo/scripts/release/build-deb.sh" "$work/$name" "$out" "$level"
  rm -rf "${work:?}/$name"
done
