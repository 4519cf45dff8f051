#!/usr/bin/env bash
# Scores images with a running lfbm-server, and prints score, p-value and verdict of each.
#
#     PATH=$PWD/target/release:$PATH examples/score.sh IMAGE...
#
# LFBM_SERVER is the server's address, HOST:PORT. Needs lfbm and jq.
set -euo pipefail

# A model of sites has a site score, another a local score.
fields='[.image, if .site_score then "site score" else "local score" end,
  .site_score // .local_score, .site_p_value // .local_p_value, .verdict] | @tsv'
lfbm score --json "$@" | jq -r "$fields" | while IFS=$'\t' read -r image name score p_value verdict; do
  LC_ALL=C printf '%s: %s %.2f, p-value %.4f, %s\n' "$image" "$name" "$score" "$p_value" "$verdict"
done
