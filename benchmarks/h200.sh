#!/usr/bin/env bash
# Everything that is to be known from a GPU, in one call of at most ten minutes; results under $OUT as they come.
#
# On the lent machine (see docs/performance.md):   OUT is given:   bash benchmarks/h200.sh
# Here, to see that it works at all:               OUT=/tmp/dry TINY=1 bash benchmarks/h200.sh
# A later call, for one part:                      STAGES=variants,ops TESTS=0 bash benchmarks/h200.sh
#
# Wheels of missing packages (pydantic and what it needs, av) travel in .whl, as the machine's README says.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:?a folder for the results}
PYTHON=${PYTHON:-python3}
BEGIN=$(date +%s)
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/src:$PWD:${PYTHONPATH:-}"
mkdir -p "$OUT"
left() { echo $((${BUDGET:-570} - $(date +%s) + BEGIN)); }

if ls .whl/*.whl >/dev/null 2>&1; then
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH="$PYTHONPATH:/tmp/site"
fi
{ nvidia-smi 2>/dev/null | head -15
  "$PYTHON" -c "import torch, sys; print(sys.version, torch.__version__)"
  "$PYTHON" -c "import triton; print('triton', triton.__version__)"; } >"$OUT/environment.txt" 2>&1
cat "$OUT/environment.txt"

if [ "${TESTS:-1}" = 1 ]; then  # right first; wrong kernels are not worth timing, but are told apart by name
  timeout "${TEST_SECONDS:-150}" "$PYTHON" -m pytest -m gpu tests/ops tests/training/test_graphs.py tests/test_replay.py tests/drawing -q -p no:cacheprovider -n "${JOBS:-6}" \
    --tb=line --maxfail=20 2>&1 | tee "$OUT/tests.txt" | tail -25
fi

timeout "$(left)" "$PYTHON" benchmarks/h200.py "$OUT" ${TINY:+--tiny} \
  --only "${STAGES:-train,generate,profile,variants,ops,schedule}" --limit "$(($(left) - 20))" 2>&1 | tee "$OUT/log.txt"
echo "done in $(($(date +%s) - BEGIN)) s"
