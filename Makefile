# Everything runs in .venv, on the package installed from a wheel: never on the source tree.

PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
SOURCES := $(shell find fastmlp -name '*.py*' -o -name '*.pxi' -o -path 'fastmlp/data/*') \
           setup.py pyproject.toml

.PHONY: demo test test-all peers lint docs wheel bench bench-check sanitize clean

demo: .venv/installed                 ## train on handwritten digits, print the accuracy
	$(BIN)/fastmlp demo

test: .venv/tested                    ## the whole test suite, on the best build
	$(BIN)/pytest

test-all: .venv/tested peers          ## the same on every build this CPU can run, nothing sampled
	set -e; for variant in $$($(BIN)/python -P -c \
	    "from fastmlp import kernels; print(*kernels.usable_variants())"); do \
	  FASTMLP_VARIANT=$$variant FASTMLP_EXHAUSTIVE=1 $(BIN)/pytest; \
	done

peers: .venv/peers                    ## the packages that tests and benchmarks compare with

lint: .venv/linted                    ## style, types, and the compiled room against its stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd tests && ../$(BIN)/python -P -m mypy.stubtest fastmlp.kernels \
	    --ignore-missing-stub --allowlist stubtest_allowlist.txt

docs: .venv/documented                ## docs/_build/index.html: the guide and the reference
	cd docs && ../$(BIN)/python -P -m sphinx -W --keep-going -q . _build

wheel: .venv/linted                   ## dist/: the wheel and the source distribution
	$(BIN)/python -m build --outdir dist

bench: .venv/installed peers          ## every claim against the peers; writes bench/RESULTS.md
	$(BIN)/python -P -m pip install --quiet jax matplotlib
	$(BIN)/fastmlp bench --out bench/results
	$(BIN)/fastmlp bench --out bench/results --rivals pytorch jax --threads 2
	$(BIN)/fastmlp bench --out bench/results --works --claims predict frozen float64 two default
	set -e; for variant in $$($(BIN)/python -P -c \
	    "from fastmlp import kernels; print(*kernels.usable_variants())"); do \
	  FASTMLP_VARIANT=$$variant $(BIN)/python -m bench.products \
	      --json bench/results/products-$$variant.json; \
	done
	for program in roofline growth cold_start memory coexistence second_order estimators; do \
	  $(BIN)/python -m bench.$$program --json bench/results/$$program.json || exit 1; \
	done
	$(BIN)/python -m bench.report

bench-check: .venv/installed          ## the machine code of every build's inner loops: vectors, no spills
	$(BIN)/python -m bench.check

sanitize: .venv/tested                ## the kernels' tests under the address sanitizer
	bash tests/sanitize.sh

clean:
	rm -rf .venv build dist fastmlp.egg-info
	find fastmlp -name '*.so' -delete

.venv/made:
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: .venv/made $(SOURCES)
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(BIN)/python -m pip install --quiet build/wheel/*.whl
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet pytest hypothesis mpmath tqdm matplotlib scipy \
	    pytest-benchmark
	touch $@

.venv/linted: .venv/tested
	$(BIN)/python -m pip install --quiet ruff==0.17.6 mypy==2.4.1 build
	touch $@

.venv/documented: .venv/installed
	$(BIN)/python -m pip install --quiet sphinx myst-parser furo matplotlib scipy tqdm \
	    scikit-learn
	touch $@

# The one release of PyTorch that also comes without gigabytes of CUDA where a CPU build is at hand.
.venv/peers: .venv/made
	$(BIN)/python -m pip install --quiet torch==2.13.0 scikit-learn pandas polars onnx \
	    onnxruntime
	touch $@
