#!/usr/bin/env bash
# The same short training in float32 and bfloat16 on blood cells at 64x64, and the Fréchet distance of both; for one GPU.
#
#   OUT=results DATA=bloodcells64.zip CLASSIFIER=cells-classifier.safetensors bash benchmarks/gpu_precision.sh
#   KIMG=160 SEEDS="0 1" PRECISIONS="fp32 bf16" ...     TINY=1: the same on a CPU, to see that it runs
#
# Without CLASSIFIER one is trained first (a minute on an H100). Ends with a line for each training.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:?a folder for the results}
DATA=${DATA:?bloodcells64.zip}
WORK=${WORK:-/tmp/stylegan-precision}
PYTHON=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src:${PYTHONPATH:-}"
stylegan() { "$PYTHON" -m stylegan "$@"; }
mkdir -p "$OUT" "$WORK"

size=64 kimg=${KIMG:-160} batch=64 metrics=fid10k classifier=(--kimg 400) widths=(--generator.fmap_base 4096 --generator.fmap_max 256
  --discriminator.fmap_base 4096 --discriminator.fmap_max 256)
if [ -n "${TINY:-}" ]; then
  size=16 kimg=0.3 batch=16 metrics=fid100 classifier=(--kimg 1 --width 16 --batch 32) widths=(--generator.fmap_base 128
    --generator.fmap_max 16 --discriminator.fmap_base 128 --discriminator.fmap_max 16)
fi
[ -f "$WORK/cells/dataset.json" ] || stylegan prepare "$DATA" "$WORK/cells" --resolution $size || exit 1
judge=${CLASSIFIER:-$WORK/classifier.safetensors}
[ -f "$judge" ] || stylegan classifier "$WORK/cells" --out "$judge" --mirror --flip "${classifier[@]}" || exit 1
for seed in ${SEEDS:-0}; do
  for precision in ${PRECISIONS:-fp32 bf16}; do
    run="$WORK/$precision-$seed"
    begin=$(date +%s)
    stylegan train "$WORK/cells" --out "$run" --preset auto --labels --mirror --kimg "$kimg" --training.seed "$seed" \
      --schedule.grow false --schedule.batch $batch --schedule.batch_by_resolution '{}' --schedule.lr 0.0025 \
      --schedule.lr_by_resolution '{}' --loss.kind logistic --loss.r1_gamma 1 --loss.mixing 0.7 --training.ema_kimg 10 --schedule.tick_kimg 20 \
      --training.precision "$precision" --training.micro_batch 0 "${widths[@]}" >"$OUT/$precision-$seed.txt" 2>&1
    echo "$precision seed $seed: trained $kimg kimg in $(($(date +%s) - begin)) s"
    stylegan evaluate "$run/model.safetensors" "$WORK/cells" --metrics $metrics --features "$judge" \
      --out "$OUT/$precision-$seed.json" 2>&1 | grep "^fid"
    cp "$(ls "$run"/grids/*.png | tail -1)" "$OUT/$precision-$seed.png"
  done
done
