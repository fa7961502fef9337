#!/usr/bin/env bash
# Every picture of the README's gallery, from the model that ships, by the project's own commands; a minute on two cores.
#   bash benchmarks/gallery.sh [MODEL] [OUT]        the time-lapse is made where the run is: see the last lines
# Uncurated: seeds 0, 1, 2, ... in order. STYLEGAN names the command line (default: stylegan).
set -euo pipefail
model=${1:-pomological128} out=${2:-docs/images} work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=$(basename "${model%.safetensors}")
sg() { ${STYLEGAN:-stylegan} "$@"; }
mkdir -p "$out"

sg generate "$model" --seeds 0-39 --grid 10x4 --psi 0.7 --out "$work/psi07"
sg generate "$model" --seeds 0-39 --grid 10x4 --psi 1 --out "$work/psi1"
sg mix "$model" --rows 0-3 --cols 10-15 --psi 0.7 --out "$work/mixing.png"
sg truncation "$model" --seeds 0-3 --out "$work/truncation.png"
sg interpolate "$model" --seeds 0-5 --frames 96 --fps 16 --easing smooth --out "$work/walk.webp"
cp "$work/psi07/sheet.png" "$out/$name-sheet.png"
cp "$work/psi1/sheet.png" "$out/$name-sheet-psi1.png"
cp "$work/mixing.png" "$out/$name-mixing.png"
cp "$work/truncation.png" "$out/$name-truncation.png"
cp "$work/walk.webp" "$out/$name-walk.webp"

ls -l "$out/$name"-*
for file in "$out/$name"-*; do
    test "$(wc -c <"$file")" -le 2000000 || { echo "$file: more than 2 MB" >&2; exit 1; }
done
# where the run lies, since its previews are many and large:
#   stylegan runs runs/fruit --timelapse pomological128-timelapse.webp --tiles 6x3 --seconds 8
# pairs of generated and nearest training images, and the numbers of the card:
#   stylegan evaluate pomological128 data/fruit --metrics nn,fid5k --features pixels --out fruit.json
# the cells, 12 of each class in a row, then every other pixel (the sheet enlarges small images twice, exactly):
#   stylegan generate cells.safetensors --seeds 0-95 --psi 1 --class 0,0,0,0,0,0,0,0,0,0,0,0,1,1,... --grid 12x8 --out cells
