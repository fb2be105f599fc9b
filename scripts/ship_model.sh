#!/usr/bin/env bash
# Make the beat models that ship with the software, from recordings to signed files, with figures that the commands measure:
#
#   scripts/ship_model.sh MITDB SIGNING_KEY
#
# MITDB: folder of the MIT-BIH Arrhythmia Database; only the DS1 records in it are learned from. SIGNING_KEY: made by
# `vitalwire model keys delegate`; the root key stays off line. The files replace those in the package.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${1:?folder of the MIT-BIH Arrhythmia Database}
key=${2:?signing key}
scratch=${SCRATCH:-$(mktemp -d)}
ds1=$(python -c 'from vitalwire_cloud.train.dataset import DS1; print(",".join(DS1))')
shipped=edge/vitalwire_edge/inference/shipped

# What the method does on patients it did not learn from: cross-validated by patient, in float and in int8.
vitalwire evaluate anomaly --data "$data" --json "$scratch/anomaly.json"
vitalwire evaluate int8 --data "$data" --json "$scratch/int8.json"

make_model() { # version seed file
  vitalwire train beat --data "$data" --records "$ds1" --epochs 16 --seed "$2" --out "$scratch/run-$1"
  vitalwire export --from "$scratch/run-$1" --out "$scratch/candidate-$1" --key "$key" --version "$1" \
    --figures "$scratch/anomaly.json" --figures "$scratch/int8.json"
  cp "$scratch/candidate-$1/beat-$1.vwm" "$3"
}
make_model 1 1 "$shipped/beat-1.vwm"
mkdir -p "$shipped/successor"
make_model 2 2 "$shipped/successor/beat-2.vwm"
