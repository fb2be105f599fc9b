#!/usr/bin/env bash
# The shipped beat model in tflite-runtime (for 32-bit ARM, where nothing newer runs) beside ai-edge-litert: it opens, it
# passes its self-test, and it gives the same scores. tflite-runtime needs Python 3.11 and numpy below 2, so it gets an
# environment of its own.
#
#   scripts/tflite_runtime.sh RECORD        RECORD: a WFDB record without suffix, e.g. mitdb/119
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
record=${1:?WFDB record, without suffix}
python=${PYTHON:-$root/.venv/bin/python}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${PYTHON311:-python3}" -m venv "$scratch/environment"
old=$scratch/environment/bin/python
"$old" -m pip install --quiet --disable-pip-version-check \
  "tflite-runtime==2.14.0" "numpy==1.26.4" "scipy==1.15.3" "numba==0.61.2" msgspec structlog cryptography prometheus-client
"$old" -m pip check
export PYTHONPATH=$root/edge:$root/cloud
"$python" "$root/scripts/runtime_scores.py" prepare "$record" "$scratch/beats.npz"
"$python" "$root/scripts/runtime_scores.py" score "$scratch/beats.npz" ai-edge-litert "$scratch/new.npz"
"$old" "$root/scripts/runtime_scores.py" score "$scratch/beats.npz" tflite-runtime "$scratch/old.npz"
"$python" "$root/scripts/runtime_scores.py" compare "$scratch/new.npz" "$scratch/old.npz"
