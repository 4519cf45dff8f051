#!/usr/bin/env bash
# Runs the programs of examples/ against a server, and compares what they print.
#
#     scripts/run-examples.sh BIN PYTHON_CLIENT
#
# BIN holds the programs, BIN/examples the Rust example, PYTHON_CLIENT gRPC for Python and the stubs.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${1:?usage: scripts/run-examples.sh BIN PYTHON_CLIENT}
python_client=${2:?usage: scripts/run-examples.sh BIN PYTHON_CLIENT}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Serves a bundle, and scores images by all programs.
run() {
  local bundle=$1 ready=$scratch/ready image
  shift
  rm -f "$ready"
  "$bin/lfbm-server" --bundle "$bundle" --ready-file "$ready" \
    --grpc-address 127.0.0.1:0 --http-address 127.0.0.1:0 2>"$scratch/log" &
  server=$!
  # The scratch folder is the script's own to remove.
  trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
  while [ ! -s "$ready" ]; do
    if ! kill -0 "$server" 2>/dev/null; then
      cat "$scratch/log" >&2
      exit 1
    fi
    sleep 0.1
  done
  LFBM_SERVER=$(sed -n 's/^grpc=//p' "$ready")
  export LFBM_SERVER
  for image in "$@"; do
    "$bin/examples/score" "$image" | tee "$scratch/rust"
    PYTHONPATH=$python_client "${PYTHON:-python3}" examples/score.py "$image" | tee "$scratch/python"
    PATH=$bin:$PATH examples/score.sh "$image" | tee "$scratch/shell"
    grep -qE '(normal|anomalous)$' "$scratch/rust"
    cmp "$scratch/rust" "$scratch/python"
    cmp "$scratch/rust" "$scratch/shell"
  done
  kill "$server"
  wait "$server" || true
}

(run models/mnist-not4 deploy/samples/model-3.png deploy/samples/strokes-4-3.png)
(run models/cloth deploy/cloth/hole.png)
