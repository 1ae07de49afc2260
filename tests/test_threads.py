"""How many threads, and that they get along: with forks, with other threads, and with idleness."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels, threads

VARIABLES = ("FASTMLP_NUM_THREADS", "OMP_NUM_THREADS")
# Seconds after which something hangs, however busy the machine is.
HANGS = 60


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch):
    """No variable, no quota, 4 processors; and what a test sets is forgotten."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(threads, "_processors", lambda: 4)
    monkeypatch.setattr(threads, "_quota", lambda: threads.MAX_THREADS)
    fm.set_num_threads(None)
    yield
    fm.set_num_threads(None)


# ---- the rule


def test_the_default_is_every_processor_the_process_may_use(monkeypatch):
    assert fm.get_num_threads() == 4
    monkeypatch.setattr(threads, "_quota", lambda: 2)
    assert fm.get_num_threads() == 2
    monkeypatch.setattr(threads, "_processors", lambda: 1)
    assert fm.get_num_threads() == 1
    monkeypatch.setattr(threads, "_processors", lambda: 1000)
    monkeypatch.setattr(threads, "_quota", lambda: 1000)
    assert fm.get_num_threads() == threads.MAX_THREADS


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3", 3), (" 2 ", 2), ("100000", 64), ("2,4", 2), ("", 4), ("0", 4), ("-1", 4), ("many", 4)],
)
def test_variables(monkeypatch, variable, text, wanted):
    """More than the processors is allowed; what is no number is ignored, as OpenMP does."""
    monkeypatch.setenv(variable, text)
    assert fm.get_num_threads() == wanted


def test_our_variable_comes_first(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("FASTMLP_NUM_THREADS", "3")
    assert fm.get_num_threads() == 3


def test_what_is_set_comes_before_variables(monkeypatch):
    monkeypatch.setenv("FASTMLP_NUM_THREADS", "3")
    fm.set_num_threads(5)
    assert fm.get_num_threads() == 5
    fm.set_num_threads(None)
    assert fm.get_num_threads() == 3


def test_what_a_call_says_comes_before_all():
    fm.set_num_threads(5)
    assert threads.resolve(2) == 2
    assert threads.resolve(None) == 5
    assert threads.resolve(1000) == threads.MAX_THREADS


@pytest.mark.parametrize(
    ("n_threads", "error"),
    [(0, ValueError), (-3, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError)],
)
def test_what_is_no_number_of_threads(n_threads, error):
    mlp = fm.MLP([2, 1], seed=0)
    for call in (
        lambda: fm.set_num_threads(n_threads),
        lambda: mlp.predict([[1, 2]], n_threads=n_threads),
        lambda: fm.Trainer(mlp, n_threads=n_threads),
        lambda: mlp.fit([[1, 2]], [1], n_threads=n_threads),
    ):
        with pytest.raises(error, match=r"n_threads: got .*, expected a whole number from 1 to 64"):
            call()
    assert fm.get_num_threads() == 4


def run_python(code, **variables):
    """What a process of its own prints, with every warning an error."""
    environment = {k: v for k, v in os.environ.items() if k not in VARIABLES} | variables
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        env=environment, capture_output=True, text=True, timeout=HANGS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_process_of_its_own():
    code = "import fastmlp; print(fastmlp.get_num_threads())"
    assert run_python(code, FASTMLP_NUM_THREADS="3") == "3"
    assert run_python(code, OMP_NUM_THREADS="2") == "2"
    assert 1 <= int(run_python(code)) <= len(os.sched_getaffinity(0))


def test_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import fastmlp; print(fastmlp.get_num_threads())"
    )
    assert run_python(code) == "1"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
        ({"cpu.max": "no sense"}, 64),
    ],
)
def test_quota_of_a_control_group(tmp_path, files, wanted):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads._quota_of(tmp_path) == wanted


# ---- work for them: several chunks of a small network


def problem(seed=0, rows=3000):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (rows, 12)), rng.integers(0, 3, rows)


def trained(dtype="float32", seed=0, epochs=5, n_threads=2):
    X, y = problem(seed)
    mlp = fm.MLP([12, 16, 3], output="softmax", seed=seed, dtype=dtype)
    mlp.fit(X, y, epochs=epochs, batch_size=len(X), seed=seed, n_threads=n_threads)
    return mlp


def workers_have_run(build):
    return sum(count > 0 for count in build.tasks_per_thread()) >= 2


def train_until_workers_run(dtype):
    deadline = time.monotonic() + HANGS
    while not workers_have_run(kernels.of(np.dtype(dtype))):
        trained(dtype)
        assert time.monotonic() < deadline, "no second thread ever had a task"


# ---- forks


def in_a_forked_child(work):
    """Exit code of a child that does ``work``, killed if it hangs."""
    with warnings.catch_warnings():
        # From 3.12 on, Python warns of forks in a process with threads: just what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + HANGS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail(f"a forked child hung for {HANGS} seconds")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_forked_child_trains_and_predicts(dtype):
    """The parent's workers do not exist in the child, which starts its own."""
    train_until_workers_run(dtype)
    build = kernels.of(np.dtype(dtype))
    wanted = trained(dtype)
    X, _ = problem()
    prediction = wanted.predict(X, n_threads=2)

    def work():
        if build.tasks_per_thread() != [0]:
            return False
        same = trained(dtype).params.tobytes() == wanted.params.tobytes()
        same &= wanted.predict(X, n_threads=2).tobytes() == prediction.tobytes()
        train_until_workers_run(dtype)
        return same

    for _ in range(100):
        assert in_a_forked_child(work) == 0
    # The parent's still do.
    assert trained(dtype).params.tobytes() == wanted.params.tobytes()
    assert len(build.tasks_per_thread()) >= 2


def test_a_child_of_a_forked_child():
    train_until_workers_run("float32")
    wanted = trained().params.tobytes()

    def work():
        train_until_workers_run("float32")
        return in_a_forked_child(lambda: trained().params.tobytes() == wanted) == 0

    assert in_a_forked_child(work) == 0


# ---- many Python threads


def together(*functions):
    """Run functions in threads of their own until all return; raise what any of them raised."""
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as failure:
            failures.append(failure)

    running = [threading.Thread(target=guarded, args=(f,), daemon=True) for f in functions]
    for thread in running:
        thread.start()
    deadline = time.monotonic() + HANGS
    for thread in running:
        thread.join(max(0, deadline - time.monotonic()))
        assert not thread.is_alive(), f"still running after {HANGS} seconds"
    if failures:
        raise failures[0]


def test_a_network_predicts_whole_sets_of_weights_while_it_learns():
    """One output, all inputs 1, all weights alike: every update changes all of them alike.

    So predictions for unit vectors are all the same, unless some were made with weights of before
    an update and some with those of after it.
    """
    n_in = 100_000
    mlp = fm.MLP([n_in, 1], init="zeros")
    X, y = np.ones((8, n_in), np.uint8), np.arange(8)
    units = np.zeros((3, n_in), np.uint8)
    units[[0, 1, 2], [0, n_in // 2, n_in - 1]] = 1
    trainer = fm.Trainer(mlp, optimizer=fm.SGD(lr=1e-7), batch_size=4, n_threads=2)
    enough = threading.Event()
    seen = set()

    def learn():
        while not enough.is_set():
            trainer.fit(X, y, epochs=5)

    def predict():
        deadline = time.monotonic() + HANGS / 2
        for n_predictions in itertools.count():
            if n_predictions >= 50 and (len(seen) > 2 or time.monotonic() > deadline):
                return
            prediction = mlp.predict(units, n_threads=2)[:, 0].tolist()
            assert len(set(prediction)) == 1
            seen.add(prediction[0])

    def predict_in_three_threads():
        try:
            together(predict, predict, predict)
        finally:
            enough.set()

    together(learn, predict_in_three_threads)
    assert len(seen) > 2, "the network did not learn meanwhile"


def test_many_threads_predict_with_one_network(dtype):
    """A thread that finds the workers busy works alone, with the same bits."""
    mlp = fm.MLP([12, 40, 3], output="softmax", seed=0, dtype=dtype)
    X, _ = problem(rows=2000)
    wanted = mlp.predict(X, n_threads=1).tobytes()

    def predict():
        for _ in range(30):
            assert mlp.predict(X, n_threads=2).tobytes() == wanted

    together(*[predict] * 8)


def test_many_networks_predict_and_train_at_once(dtype):
    """Trainings side by side leave the bits each leaves alone, whoever gets the workers."""
    wanted = [trained(dtype, seed, epochs=40, n_threads=1).params.tobytes() for seed in range(4)]
    found = [None] * 4

    def train(seed):
        found[seed] = trained(dtype, seed, epochs=40, n_threads=2).params.tobytes()

    together(*[lambda seed=seed: train(seed) for seed in range(4)])
    assert found == wanted


def test_one_trainer_s_steps_and_predictions_take_turns():
    """The loop by hand beside predictions: no crash, and the steps' result is as alone."""
    X, y = problem(rows=600)

    def steps(mlp):
        trainer = fm.Trainer(mlp, batch_size=600, seed=0, n_threads=2)
        for _ in range(50):
            trainer.forward(X)
            trainer.compute_loss(y)
            trainer.backward()
            trainer.step()

    alone, watched = (fm.MLP([12, 64, 3], output="softmax", seed=0) for _ in range(2))
    steps(alone)

    def predict():
        for _ in range(50):
            assert np.isfinite(watched.predict(X)).all()

    together(lambda: steps(watched), predict, predict)
    assert watched.params.tobytes() == alone.params.tobytes()


# ---- idleness


def test_idle_workers_burn_no_time(dtype):
    train_until_workers_run(dtype)
    trained(dtype)
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(1)
    assert time.process_time() - before < 0.05


def test_workers_are_there_only_once_they_are_needed():
    code = """
import threading, numpy as np, fastmlp as fm
from fastmlp import kernels
def count():
    return len(__import__("os").listdir("/proc/self/task"))
at_first = count()
mlp = fm.MLP([12, 16, 3])
X = np.ones((3000, 12), np.float32)
mlp.predict(X, n_threads=1)
alone = count()
mlp.predict(X, n_threads=3)
print(at_first == alone, count() - alone, len(kernels.float32.tasks_per_thread()))
"""
    assert Path("/proc/self/task").exists()
    assert run_python(code) == "True 2 3"


def test_a_process_ends_with_workers_asleep_or_not():
    """Workers are no reason for a process not to end, or to end badly."""
    code = """
import numpy as np, fastmlp as fm
mlp = fm.MLP([12, 16, 3], output="softmax", seed=0)
mlp.fit(np.ones((3000, 12)), np.zeros(3000, int), epochs=3, batch_size=3000, n_threads=2)
print("trained")
"""
    for _ in range(3):
        assert run_python(code) == "trained"
