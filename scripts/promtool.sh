#!/usr/bin/env bash
# Puts Prometheus' promtool at FILE: the one on the PATH, or else the one of Debian's package, which
# is unpacked and not installed. Needs no root.
#
#     scripts/promtool.sh FILE
set -euo pipefail

file=${1:?usage: scripts/promtool.sh FILE}
mkdir -p "$(dirname "$file")"
if found=$(command -v promtool); then
  ln -sf "$found" "$file"
  exit
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if ! (cd "$scratch" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb .) >"$scratch/log" 2>&1; then
  echo "promtool: it is not on the PATH, and apt-get cannot fetch Debian's package prometheus;" \
    "install Prometheus, or put promtool at $file" >&2
  exit 1
fi
install -m 755 "$scratch/usr/bin/promtool" "$file"
