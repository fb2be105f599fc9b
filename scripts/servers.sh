#!/usr/bin/env bash
# The servers that tests run against, from Debian. Installs what is missing as root or through sudo; otherwise names
# it and exits 2.
set -euo pipefail

declare -A package_of=([mosquitto]=mosquitto [chromium]=chromium [influxd]=influxdb [victoria-metrics]=victoria-metrics [pg_ctlcluster]=postgresql)
PATH="$PATH:/usr/sbin:/usr/local/sbin"

missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

run=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    echo "vitalwire: the tests need ${missing[*]}, and this user cannot install packages." >&2
    echo "           Run as root: apt-get install ${missing[*]}" >&2
    exit 2
  fi
  run=(sudo -n)
fi
if ! command -v apt-get >/dev/null; then
  echo "vitalwire: the tests need ${missing[*]}; install them with this system's package manager." >&2
  exit 2
fi

echo "Installing for the tests: ${missing[*]}"
# A packaged server would start itself on its well-known port; the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee "$policy" >/dev/null
  "${run[@]}" chmod 755 "$policy"
  trap '"${run[@]}" rm -f "$policy"' EXIT
fi
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
