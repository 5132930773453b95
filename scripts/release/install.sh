#!/bin/sh
# Installs Pipit from this unpacked release: sudo ./install.sh [--model FILE.gguf|NAME] [--signers FILE] [--no-start]
# Asks nothing, works offline, may be repeated. An installed older release is updated through pipitctl, with its gate.
set -eu
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(cd "$(dirname "$0")" && pwd)
root=/opt/pipit
model=
signers=
start=yes
say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,3s/^# //p' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --model | --signers) [ $# -ge 2 ] || { printf 'install.sh: %s needs a value\n' "$1" >&2; usage >&2; exit 64; } ;;
  esac
  case $1 in
    --model) model=$2; shift 2 ;;
    --signers) signers=$2; shift 2 ;;
    --no-start) start=no; shift ;;
    -h | --help) usage; exit 0 ;;
    *) printf 'install.sh: unknown option %s\n' "$1" >&2; usage >&2; exit 64 ;;
  esac
done
case $model in *.gguf) [ -f "$model" ] || fail "--model: no such file: $model" ;; esac
[ -z "$signers" ] || [ -s "$signers" ] || fail "--signers: no such file, or empty: $signers"
[ "$(id -u)" = 0 ] || fail "needs root: sudo ./install.sh"
[ ! -e /usr/lib/pipit/bin/pipitctl ] || fail "Pipit is installed as a Debian package: use apt install ./pipit_….deb"
[ -d /run/systemd/system ] || [ $start = no ] || fail "systemd does not run here; --no-start installs without starting"
version=$(sed -n 's/^VERSION=//p' "$here/release.env")

# The first installation trusts the key that came with it, unless one was given; from then on only that key is trusted.
mkdir -p /etc/pipit
if [ -n "$signers" ]; then
  install -m 644 "$signers" /etc/pipit/allowed_signers
elif [ ! -s /etc/pipit/allowed_signers ] && [ -s "$here/allowed_signers" ]; then
  install -m 644 "$here/allowed_signers" /etc/pipit/allowed_signers
  say "Trusting the release key $(sed 's/.*" //' "$here/allowed_signers" | ssh-keygen -lf - 2>/dev/null | cut -d' ' -f2) from now on."
fi
"$here/bin/pipitctl" verify "$here" || fail "this release is not what was signed; nothing was changed"

# The model: as given, else a GGUF file beside the release, else the one configured, fetched where there is a network.
if [ -z "$model" ]; then
  for file in "$here"/*.gguf "$here"/../*.gguf; do [ -z "$model" ] && [ -f "$file" ] && model=$file; done
fi
model_sum=
case $model in *.gguf) model_sum=$(sha256sum "$model" | cut -d' ' -f1) ;; esac

if [ -f "$root/current/release.env" ] && [ "$(sed -n 's/^VERSION=//p' "$root/current/release.env")" != "$version" ]; then
  say "Updating $(sed -n 's/^VERSION=//p' "$root/current/release.env") to $version."
  rm -rf "$root/releases/.partial" && cp -a "$here" "$root/releases/.partial"
  rm -rf "${root:?}/releases/$version" && mv -T "$root/releases/.partial" "$root/releases/$version"
  "$root/pipitctl" preflight "$version"
  exec "$root/pipitctl" apply "$version"
fi

say "Installing Pipit $version into $root/releases/$version"
mkdir -p "$root/releases" /var/lib/pipit-update /etc/sysusers.d
if [ ! -f "$root/current/release.env" ]; then
  rm -rf "$root/releases/.partial"
  cp -R "$here" "$root/releases/.partial"
  rm -f "$root"/releases/.partial/*.gguf
  chown -R root:root "$root/releases/.partial"
  rm -rf "${root:?}/releases/$version"
  mv -T "$root/releases/.partial" "$root/releases/$version"
  ln -sfn "releases/$version" "$root/current"
  printf '{"at":"%s","kind":"release","from":"none","to":"%s","verdict":"committed","reason":"installed","tokens_per_second":null}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$version" >>/var/lib/pipit-update/history.jsonl
fi
install -m 644 "$here/systemd/pipit.sysusers" /etc/sysusers.d/pipit.conf
systemd-sysusers /etc/sysusers.d/pipit.conf
install -d -o pipit -g pipit -m 700 /var/lib/pipit
install -d -o pipit -g pipit -m 755 /var/lib/pipit/models
[ -e /etc/pipit/pipit.yaml ] || install -m 644 "$here/app/config/default.yaml" /etc/pipit/pipit.yaml
[ -e /etc/pipit/golden.jsonl ] || install -m 644 "$here/golden.jsonl" /etc/pipit/golden.jsonl
[ -e /etc/pipit/pipit.env ] || install -m 644 /dev/null /etc/pipit/pipit.env
"$here/bin/pipitctl" install-stable "$here"
# The unit comes with the release, so that a revert reverts it too.
ln -sfn "$root/current/systemd/pipit.service" /etc/systemd/system/pipit.service
mkdir -p /usr/local/bin /usr/local/sbin
ln -sfn "$root/current/bin/pipit" /usr/local/bin/pipit
ln -sfn "$root/pipitctl" /usr/local/sbin/pipitctl

if [ -n "$model_sum" ]; then
  say "Taking the model $(readlink -f "$model")"
  stored=$("$root/pipitctl" model add "$model" "$model_sum")
  # A model of the catalogue goes by its name, the default one needs no word at all.
  name=$(awk -v sum="$model_sum" '$1 == "-" && $2 == "name:" { name = $3 } $1 == "sha256:" && $2 == sum { print name }' "$here/app/config/models.yaml")
  "$root/pipitctl" model use "${name:-$stored}"
elif [ -n "$model" ]; then
  "$root/pipitctl" model use "$model"
fi
sync
for unit in pipit.service pipit-revert.service; do
  mkdir -p /etc/systemd/system/multi-user.target.wants
  ln -sfn "/etc/systemd/system/$unit" "/etc/systemd/system/multi-user.target.wants/$unit"
done
[ $start = yes ] || { say "Installed, not started (--no-start)."; exit 0; }

systemctl daemon-reload
say "Self-test: loading the model and answering one question"
if "$root/pipitctl" fit-memory; then :; else say "The service starts all the same; its log says what is missing: journalctl -u pipit"; fi
systemctl daemon-reload
systemctl restart pipit.service || fail "the service did not start: journalctl -u pipit"
say "
Pipit $version runs. $(systemctl show -p StatusText --value pipit.service)
  systemctl status pipit       what it is doing          journalctl -u pipit -f   its log
  pipit ask \"Why is the sky blue?\"                       pipit doctor             what this board can do
  /etc/pipit/pipit.yaml        its configuration (the broker first); sudo systemctl reload pipit
  sudo pipitctl update FILE    a newer release           sudo $root/current/uninstall.sh [--purge]"
