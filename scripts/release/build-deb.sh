#!/bin/sh
# Makes a Debian package of an unpacked release: build-deb.sh TREE OUT XZ_LEVEL. Same files under /usr/lib/pipit, units with
# the paths of the package; updates come through apt, so the release's own signature and update units stay out.
set -eu
umask 022
tree=$1 out=$2 level=$3
value() { sed -n "s/^$1=//p" "$tree/release.env"; }
version=$(value VERSION)
case $(value ARCH) in arm64) arch=arm64 ;; x64) arch=amd64 ;; armv7) arch=armhf ;; esac
root=$(mktemp -d "${TMPDIR:-/tmp}/pipit-deb.XXXXXX")
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
here=$(cd "$(dirname "$0")" && pwd)

lib=$root/usr/lib/pipit
doc=$root/usr/share/doc/pipit
mkdir -p "$lib" "$doc" "$root/usr/bin" "$root/usr/sbin" "$root/lib/systemd/system" "$root/usr/lib/sysusers.d" "$root/etc/pipit" "$root/usr/share/lintian/overrides" "$root/DEBIAN" "$root/usr/share/man/man1" "$root/usr/share/man/man8"
cp -R "$tree/app" "$tree/bin" "$tree/release.env" "$lib/"
cp "$tree/share/doc/LICENSE.node" "$lib/"
cp "$tree/sbom.cdx.json" "$doc/"
find "$tree/share/doc" -type f ! -name LICENSE ! -name LICENSE.node -exec cp {} "$doc/" \;
for unit in "$tree"/systemd/*.service; do
  sed -e 's#/opt/pipit/current/share/doc#/usr/share/doc/pipit#; s#/opt/pipit/current#/usr/lib/pipit#g; s#/opt/pipit/pipitctl#/usr/lib/pipit/bin/pipitctl#g; s#/opt/pipit#/usr/lib/pipit#g' "$unit" >"$root/lib/systemd/system/$(basename "$unit")"
done
cp "$tree/systemd/pipit.sysusers" "$root/usr/lib/sysusers.d/pipit.conf"
cp "$tree/golden.jsonl" "$root/etc/pipit/"
cp "$tree/app/config/default.yaml" "$root/etc/pipit/pipit.yaml"
ln -s ../lib/pipit/bin/pipit "$root/usr/bin/pipit"
ln -s ../lib/pipit/bin/pipitctl "$root/usr/sbin/pipitctl"

{
  echo 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/'
  printf '\nFiles: *\nCopyright: the Pipit authors\nLicense: Apache-2.0\n On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n'
  printf '\nFiles: usr/lib/pipit/app/node_modules/*\nCopyright: their authors, see the licence file of each package\nLicense: MIT and others\n Each package keeps its own licence file; sbom.cdx.json lists them.\n'
  printf '\nFiles: usr/lib/pipit/bin/node\nCopyright: Node.js contributors and others\nLicense: MIT and others\n The full text is in /usr/lib/pipit/LICENSE.node.\n'
} >"$doc/copyright"
printf 'pipit (%s) stable; urgency=medium\n\n  * Release %s, commit %s; see CHANGELOG.md of the project.\n\n -- Pipit maintainers <maintainers@pipit.invalid>  %s\n' \
  "$version" "$version" "$(value COMMIT | cut -c1-12)" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
for page in pipit.1 pipitctl.8; do gzip -9n <"$here/man/$page" >"$root/usr/share/man/man${page##*.}/$page.gz"; done
cp "$here/lintian-overrides" "$root/usr/share/lintian/overrides/pipit"

for script in postinst prerm postrm; do install -m 755 "$here/debian/$script" "$root/DEBIAN/$script"; done
printf '/etc/pipit/golden.jsonl\n/etc/pipit/pipit.yaml\n' >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: pipit
Version: $version
Architecture: $arch
Maintainer: Pipit maintainers <maintainers@pipit.invalid>
Installed-Size: $(du -sk "$root/usr" "$root/lib" "$root/etc" | awk '{ s += $1 } END { print s }')
Depends: libc6 (>= 2.28), libstdc++6 (>= 9), libgcc-s1 | libgcc1, systemd | systemd-sysusers
Recommends: mosquitto
Suggests: mosquitto-clients, openssh-client
Section: net
Priority: optional
Description: small language model on the MQTT bus
 Pipit subscribes to MQTT topics, answers or classifies the text that arrives
 with a small quantized model, and adapts threads, context and memory to what
 the board has left, so that the board it shares stays usable. Offline and
 private. The package carries its own Node.js runtime and needs no compiler
 and no network.
CONTROL
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -path '*/bin/*' ! -path "$root/DEBIAN/*" -exec chmod 644 {} +
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | sort | xargs -d '\n' md5sum) >"$root/DEBIAN/md5sums"
chmod 644 "$root/DEBIAN/control" "$root/DEBIAN/conffiles" "$root/DEBIAN/md5sums"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz "-z$level" --threads-max=1 --build "$root" "$out/pipit_${version}_$arch.deb" >/dev/null 2>&1 ||
  dpkg-deb --root-owner-group -Zxz "-z$level" --build "$root" "$out/pipit_${version}_$arch.deb" >/dev/null
echo "$out/pipit_${version}_$arch.deb $(($(stat -c %s "$out/pipit_${version}_$arch.deb") / 1024)) KiB"
