"""Many networks at once: each as if it were alone."""

import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import threads


def rows(rng, n=200):
    X = rng.normal(size=(n, 5))
    return X, (X[:, :1] * X[:, 1:2] > 0).astype(float)


def networks(n=12):
    """Of any mixture of shapes and settings."""
    for i in range(n):
        mlp = fm.MLP(
            [5, 3 + 2 * i, 1], activation=("tanh", "relu")[i % 2], output="sigmoid", seed=i,
            dropout=0.1 * (i % 3), dtype=("float32", "float64")[i // 2 % 2],
        )  # fmt: skip
        optimizer = (fm.Adam(0.01), fm.SGD(0.1, momentum=0.9), fm.RMSprop())[i % 3]
        yield mlp, {"epochs": 3 + i, "batch_size": 8 + i, "seed": i, "optimizer": optimizer}


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_each_is_bit_equal_to_itself_alone(n_threads, rng):
    X, y = rows(rng)
    jobs = list(networks())
    histories = fm.fit_many(jobs, X, y, n_threads=n_threads)
    for (mlp, options), (alone, _), history in zip(jobs, networks(), histories, strict=True):
        assert alone.fit(X, y, **options)["loss"] == history["loss"]
        np.testing.assert_array_equal(mlp.params, alone.params)


def test_several_threads_work_one_network_each(rng):
    X, y = rows(rng)
    seen, counts = set(), set()

    class Watch(fm.Callback):
        def on_epoch_end(self, trainer):
            seen.add(threading.get_ident())
            counts.add(threads.resolve(8))
            time.sleep(0.001)

    fm.fit_many([(m, o | {"callbacks": [Watch()]}) for m, o in networks()], X, y, n_threads=3)
    assert len(seen) == 3
    assert counts == {1}
    assert threads.resolve(8) == 8


def test_a_job_may_have_rows_of_its_own(rng):
    X, y = rows(rng)
    (first, _), (second, _) = networks(2)
    options = {"epochs": 4, "seed": 0}
    fm.fit_many([(first, options | {"X": X[:50], "y": y[:50]}), (second, options)], X, y)
    alone = next(networks(1))[0]
    alone.fit(X[:50], y[:50], **options)
    np.testing.assert_array_equal(first.params, alone.params)
    trainer = fm.Trainer(next(networks(1))[0], seed=0)
    assert fm.fit_many([trainer], X, y)[0] is trainer.history


def test_the_first_error_is_raised_and_says_whose_it_is(rng):
    X, y = rows(rng)
    jobs = [*networks(3), (fm.MLP([4, 1]), {"epochs": 1}), *networks(1)]
    with pytest.raises(ValueError, match="X: got 5 columns, expected 4") as error:
        fm.fit_many(jobs, X, y, n_threads=2)
    assert error.value.__notes__ == ["fit_many: this is of job 3, MLP"]
    assert threads.resolve(2) == 2


def test_what_is_no_job_is_refused(rng):
    X, y = rows(rng)
    mlp, options = next(networks(1))
    with pytest.raises(TypeError, match=r"jobs\[0\]: got 3, expected a model with a fit"):
        fm.fit_many([3], X, y)
    with pytest.raises(ValueError, match=r"jobs\[1\]: got the same network as jobs\[0\]"):
        fm.fit_many([(mlp, options), fm.Trainer(mlp)], X, y)
    assert fm.fit_many([], X, y) == []


def test_an_interruption_ends_all_of_them(rng):
    """The signal comes to the main thread, which waits; the others train without end."""
    X, y = rows(rng)
    endless = {"epochs": 10**9, "max_seconds": 300}
    stream = {"X": lambda: itertools.repeat((X, y)), "y": None}
    jobs = [(mlp, options | endless) for mlp, options in networks(2)]
    jobs[1][1].update(stream)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    # A shell that starts a process in the background lets it ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        began = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            fm.fit_many(jobs, X, y, n_threads=2)
        assert time.perf_counter() - began < 60
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    for mlp, _ in jobs:
        assert np.isfinite(mlp.params).all()
