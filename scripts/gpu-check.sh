#!/usr/bin/env bash
# Checks LFBM on a GPU, or on the CPU in its place, in eight minutes at most, and writes a page of what it found.
#
#     scripts/gpu-check.sh --out OUT                           # on a GPU, in what scripts/gpu-pack.py packed
#     scripts/gpu-check.sh --out OUT --device cpu --quick      # on any machine: `make gpu-check`
#
# PYTHON is the Python whose packages torch and nvidia-* hold PyTorch and the libraries of CUDA; python3 otherwise.
set -euo pipefail
exec "${PYTHON:-python3}" -B "$(dirname "$0")/gpu_check" "$@"
