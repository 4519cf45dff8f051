#!/usr/bin/env bash
# Starts the server on a bundle for digits and the bundle for cloth, scores the sample images of both, and
# stays until Ctrl-C.
#
#     scripts/demo.sh BUNDLE
set -euo pipefail
cd "$(dirname "$0")/.."

bundle=${1:?usage: scripts/demo.sh BUNDLE}
bin=target/release
scratch=$(mktemp -d)
ready=$scratch/ready

stop() {
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -rf "$scratch"
}

"$bin/lfbm-server" --bundle "$bundle" --bundle models/cloth --ready-file "$ready" 2>"$scratch/log" &
server=$!
trap stop EXIT
trap 'exit 0' INT TERM

while [ ! -s "$ready" ]; do
  if ! kill -0 "$server" 2>/dev/null; then
    cat "$scratch/log" >&2
    exit 1
  fi
  sleep 0.1
done
grpc=$(sed -n 's/^grpc=//p' "$ready")
http=$(sed -n 's/^http=//p' "$ready")
export LFBM_SERVER=http://$grpc

digits=$(sed -n 's/^  "name": "\(.*\)",$/\1/p' "$bundle/manifest.json")

echo "Digits that the model knows, and some that it does not:"
"$bin/lfbm" score --model "$digits" deploy/samples
echo
echo "Woven cloth, without and with faults:"
"$bin/lfbm" score --model cloth deploy/cloth

cat <<END

The server answers at $grpc and goes on until Ctrl-C. In another terminal:

    $bin/lfbm --server http://$grpc score --model $digits YOUR.png      white on black
    $bin/lfbm --server http://$grpc explain --model cloth deploy/cloth/hole.png --out runs/explained
    $bin/lfbm --server http://$grpc models
    curl http://$http/metrics

\`explain\` draws the map of a cloth over it: magenta at the threshold, yellow where it is most unusual.
END
wait "$server"
