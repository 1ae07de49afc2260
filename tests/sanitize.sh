#!/usr/bin/env bash
# The kernels' tests on modules built with the address and undefined-behaviour sanitizers: a read or
# write outside an array ends the run. In an environment of its own, because these modules are slow.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/sanitize
python="${PYTHON:-python3}"
[ -d "$venv" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet pytest hypothesis mpmath numpy safetensors
FASTMLP_SANITIZE=1 "$venv/bin/python" -m pip install --quiet --force-reinstall --no-deps .
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
# Python itself never frees what it holds at exit; a sanitizer's handler must not hide a crash.
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
"$venv/bin/pytest" -p no:cacheprovider \
    tests/test_kernels.py tests/test_bits.py tests/test_network.py tests/test_predictor.py \
    tests/test_gradients.py tests/test_fitting.py tests/test_second_order.py tests/test_zeros.py
