"""Times of our own, for history: ``pytest bench``. Claims come from ``python -m bench``."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp.benchmarks.rivals import RIVALS
from fastmlp.benchmarks.works import WORKS

NETWORKS = ([784, 128, 10], [784, 512, 512, 10], [4, 32, 16, 4])


@pytest.mark.parametrize("name", WORKS)
def test_fit(benchmark, name):
    """The work's epochs from its initial weights, one thread."""
    work = WORKS[name]
    run = RIVALS["fastmlp"].load()(work, work.initial_weights(), work.data(), n_threads=1)
    benchmark.extra_info["epochs"] = work.epochs
    benchmark.pedantic(run.train, setup=run.reset, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("sizes", NETWORKS, ids=lambda sizes: "-".join(map(str, sizes)))
@pytest.mark.parametrize("rows", [1, 10_000])
def test_predict(benchmark, sizes, rows):
    """Prediction into a buffer that is there already."""
    mlp = fm.MLP(sizes, seed=0)
    x = np.random.default_rng(0).random((rows, sizes[0]), np.float32)
    out = np.empty((rows, sizes[-1]), np.float32)
    benchmark(mlp.predict, x, out=out)
