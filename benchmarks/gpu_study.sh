#!/usr/bin/env bash
# A scaled-down Table 1 (and 2) on blood cells at 64x64, for one GPU and a few minutes; results under $OUT as they come.
#
#   OUT=results DATA=../shared/data/bloodcells64/bloodcells64.zip bash benchmarks/gpu_study.sh
#   TABLES="table1 table2" KIMG=60 SEEDS=0,1 ...     more of it: the same command again goes on in $WORK
#   TINY=1 ...                                       the same on a CPU in minutes, to see that it runs
#
# Seconds: about 10 to prepare, 30 for the classifier, 45 of starting and measuring (all configurations side by side),
# and KIMG · 5480 images (Table 1: A is 12/25 as long) or KIMG · 4000 (Table 2) at the rate of all of them together.
# STUDY_SECONDS ends a study early, resumably; what has been measured by then is in its table.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:?a folder for the results}
DATA=${DATA:?bloodcells64.zip}
WORK=${WORK:-/tmp/stylegan-study}
PYTHON=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src:${PYTHONPATH:-}"
stylegan() { "$PYTHON" -m stylegan "$@"; }
mkdir -p "$OUT" "$WORK"

if [ -n "${TINY:-}" ]; then
  sizes=(--resolution 16 --width 16 --schedule.batch 16 --gpus 0 --jobs 2)
  classifier=(--kimg 1 --width 16 --batch 32 --device cpu)
  kimg=${KIMG:-0.2} metrics=${METRICS:-fid100,kid100}
else
  sizes=(--width "${WIDTH:-256}" --schedule.batch "${BATCH:-64}" --training.precision bf16 --jobs "${JOBS:-6}")
  classifier=(--kimg 400)
  kimg=${KIMG:-60} metrics=${METRICS:-fid10k,kid10k}
fi

[ -f "$WORK/cells64/dataset.json" ] || stylegan prepare "$DATA" "$WORK/cells64" --resolution 64 || exit 1
judge="$WORK/cells-classifier.safetensors"
if [ ! -f "$judge" ]; then
  if [ -f "${CLASSIFIER:-}" ]; then cp "$CLASSIFIER" "$judge"; else
    stylegan classifier "$WORK/cells64" --out "$judge" --mirror --flip "${classifier[@]}" 2>"$WORK/classifier.log" |
      tee "$OUT/classifier.txt" || exit 1
  fi
fi
cp "$judge" "$OUT/"
for table in ${TABLES:-table1}; do
  begin=$(date +%s)
  timeout --signal=INT --kill-after=60 "${STUDY_SECONDS:-420}" "$PYTHON" -m stylegan study "$table" "$WORK/cells64" \
    --kimg "$kimg" --seeds "${SEEDS:-0}" "${sizes[@]}" --schedule.batch_by_resolution '{}' --metrics "$metrics" \
    --features "$judge" --cache "$WORK/cache" --out "$WORK/$table" 2>&1 | tee "$OUT/$table.log"
  echo "$table: $(($(date +%s) - begin)) s"
  for file in table.md plots.png samples-seed0.png; do
    if [ -f "$WORK/$table/$file" ]; then cp "$WORK/$table/$file" "$OUT/$table-$file"; fi
  done
  tail -n 3 "$WORK/$table"/runs/*/training.txt 2>/dev/null | cut -c1-160
  cat "$OUT/$table-table.md" 2>/dev/null
done
