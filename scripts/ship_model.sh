#!/usr/bin/env bash
# Make the beat models that ship with the software, from recordings to signed files, with figures that the commands measure:
#
#   scripts/ship_model.sh RECORDINGS SIGNING_KEY
#
# RECORDINGS: folder with the MIT-BIH Arrhythmia Database as mitdb/ and its noise as nstdb/; only the DS1 records are
# learned from. SIGNING_KEY: made by `vitalwire model keys delegate`; the root key stays off line. The signed files replace
# those in the package; the page that their cards link to is left in $SCRATCH/report, or is the one in $REPORT where those
# protocols have been run on this very code already.
set -euo pipefail
cd "$(dirname "$0")/.."

recordings=${1:?folder with mitdb/ and nstdb/}
key=${2:?signing key}
scratch=${SCRATCH:-$(mktemp -d)}
ds1=$(python -c 'from vitalwire_cloud.train.dataset import DS1; print(",".join(DS1))')
shipped=edge/vitalwire_edge/inference/shipped

# What the method does on patients it did not learn from: cross-validated by patient, in float and in int8.
report=${REPORT:-}
if [ -z "$report" ]; then
  report=$scratch/report
  vitalwire evaluate all --data "$recordings" --only inter-patient,naming,calibration,int8 --report "$report"
fi

make_model() { # version seed file
  vitalwire train beat --data "$recordings/mitdb" --records "$ds1" --epochs 16 --seed "$2" --out "$scratch/run-$1"
  vitalwire export --from "$scratch/run-$1" --out "$scratch/candidate-$1" --key "$key" --version "$1" \
    --report "$report"
  cp "$scratch/candidate-$1/beat-$1.vwm" "$3"
}
make_model 1 1 "$shipped/beat-1.vwm"
mkdir -p "$shipped/successor"
make_model 2 2 "$shipped/successor/beat-2.vwm"
