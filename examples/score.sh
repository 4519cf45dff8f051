#!/usr/bin/env bash
# Scores images with a running lfbm-server, and prints score, p-value and verdict of each.
#
#     PATH=$PWD/target/release:$PATH examples/score.sh IMAGE...
#
# LFBM_SERVER is the server's address, HOST:PORT. Needs lfbm and jq.
set -euo pipefail

lfbm score --json "$@" |
  jq -r '[.image, .local_score, .local_p_value, .verdict] | @tsv' |
  while IFS=$'\t' read -r image score p_value verdict; do
    LC_ALL=C printf '%s: local score %.2f, p-value %.4f, %s\n' "$image" "$score" "$p_value" "$verdict"
  done
