#!/bin/sh
# Removes Pipit: sudo ./uninstall.sh [--purge]. With --purge also its configuration, state, models and user.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
purge=no
case ${1:-} in
  "") ;;
  --purge) purge=yes ;;
  -h | --help) sed -n '2s/^# //p' "$0"; exit 0 ;;
  *) printf 'uninstall.sh: unknown option %s\n' "$1" >&2; sed -n '2s/^# //p' "$0" >&2; exit 64 ;;
esac
[ "$(id -u)" = 0 ] || { echo "uninstall.sh: needs root: sudo ./uninstall.sh" >&2; exit 1; }

units="pipit.service pipit-revert.service pipit-update.service pipit-check@self-test.service pipit-check@exam.service"
if [ -d /run/systemd/system ]; then
  # shellcheck disable=SC2086
  systemctl stop $units 2>/dev/null || true
fi
for unit in pipit.service pipit-revert.service pipit-update.service pipit-check@.service; do
  rm -f "/etc/systemd/system/$unit" "/etc/systemd/system/multi-user.target.wants/$unit"
done
# The written memory limit is ours; drop-ins of the owner are configuration.
rm -f /etc/systemd/system/pipit.service.d/10-memory.conf /usr/local/bin/pipit /usr/local/sbin/pipitctl
rmdir /etc/systemd/system/pipit.service.d 2>/dev/null || true
if [ $purge = yes ]; then
  rm -rf /etc/systemd/system/pipit.service.d '/etc/systemd/system/pipit-check@.service.d' /etc/pipit /var/lib/pipit /var/lib/pipit-check /etc/sysusers.d/pipit.conf
  if getent passwd pipit >/dev/null; then userdel pipit; fi
  if getent group pipit >/dev/null; then groupdel pipit; fi
fi
rm -rf /opt/pipit /var/lib/pipit-update /run/pipit
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # shellcheck disable=SC2086
  systemctl reset-failed $units 2>/dev/null || true
fi
if [ $purge = yes ]; then
  echo "Pipit and all it kept are removed. Its lines in the system journal go with the journal's own rotation."
else
  echo "Pipit is removed. Kept: /etc/pipit (configuration), /var/lib/pipit (questions, models), the user pipit; --purge removes them too."
fi
