"""Learning-rate schedules: every rate against the formula, PyTorch and scikit-learn.

PyTorch computes many of its rates from the one before, which costs it a few roundings a step; the
comparisons allow 1e-12 of the learning rate.
"""

import copy
import pickle
import re
from itertools import pairwise

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import schedules

LR = 0.3
# One of each kind, and of each branch; those with a state are asked with one that is not new.
EACH = {
    "constant": fm.Constant(),
    "step, epochs": fm.Step(factor=0.5, epochs=2),
    "step, steps": fm.Step(factor=0.5, steps=7),
    "multi step, epochs": fm.MultiStep(factor=0.5, epochs=[1, 4]),
    "multi step, steps": fm.MultiStep(factor=0.5, steps=[3, 4, 30]),
    "exponential, epochs": fm.Exponential(factor=0.7, epochs=2),
    "exponential, steps": fm.Exponential(factor=0.7, steps=9),
    "polynomial": fm.Polynomial(power=2.5, to_factor=0.1),
    "polynomial, epochs": fm.Polynomial(epochs=4),
    "cosine": fm.Cosine(to_factor=0.01),
    "cosine, steps": fm.Cosine(steps=40),
    "cosine, restarts": fm.Cosine(steps=13, restarts=True),
    "cosine, growing": fm.Cosine(steps=3, restarts=True, growth=2),
    "one cycle": fm.OneCycle(),
    "one cycle, linear": fm.OneCycle(epochs=5, anneal="linear"),
    "one cycle, three phases": fm.OneCycle(three_phase=True),
    "inverse scaling": fm.InverseScaling(power=0.3),
    "inverse scaling, rows": fm.InverseScaling(rows=95),
    "function": schedules.FromFunction(lambda step, epoch: 1 / (1 + step + 10 * epoch)),
    "on plateau": fm.OnPlateau(),
    "warm-up": fm.Warmup(steps=17),
    "warm-up, cosine": fm.Warmup("cosine", epochs=2, from_factor=0),
    "warm-up, step": fm.Warmup(fm.Step(factor=0.5, epochs=2), steps=17),
    "warm-up, function": fm.Warmup(lambda step, epoch: 0.9**step * 0.5**epoch, steps=17),
    "warm-up, twice": fm.Warmup(fm.Warmup("one_cycle", steps=5), epochs=1),
    "range test": schedules.RangeTest(),
}
each = pytest.mark.parametrize("schedule", EACH.values(), ids=EACH)


def table(schedule, n_steps, steps_per_epoch=None, total_steps=None, **where):
    return schedule.rates(LR, 0, n_steps, steps_per_epoch, total_steps, **where)


def close(rates, expected):
    np.testing.assert_allclose(rates, expected, rtol=1e-12, atol=1e-12 * LR)


def test_every_schedule_is_among_these():
    """So that a new one is sliced, saved and looked at like the others."""
    kinds = {type(schedule) for schedule in EACH.values()}
    public = {getattr(schedules, name) for name in schedules.__all__} - {schedules.Schedule}
    assert public == kinds
    assert set(schedules.SCHEDULES.values()) <= kinds


# ---- what holds for all of them


@each
def test_rates_are_finite_float64(schedule):
    rates = table(schedule, 200, 10, 100)
    assert (rates.shape, rates.dtype) == ((200,), np.float64)
    assert np.all(np.isfinite(rates))
    assert np.all(rates >= 0)
    if not isinstance(schedule, schedules.RangeTest):
        assert rates.max() <= LR * (1 + 1e-15)
    assert schedule.rates(LR, 50, 0, 10, 100).shape == (0,)


@each
@pytest.mark.parametrize("epoch_zero", [0, -30, 4])
def test_pieces_are_the_whole_bit_for_bit(schedule, epoch_zero, rng):
    state = schedule.new_state()
    state[:1] = 0.25
    where = {"epoch_zero": epoch_zero, "state": state}
    whole = schedule.rates(LR, 0, 150, 10, 120, **where)
    for _ in range(20):
        cuts = [0, *np.sort(rng.integers(0, 151, 6)).tolist(), 150]
        pieces = [
            schedule.rates(LR, first, last - first, 10, 120, **where)
            for first, last in pairwise(cuts)
        ]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    one_by_one = [schedule.rates(LR, step, 1, 10, 120, **where)[0] for step in range(150)]
    np.testing.assert_array_equal(one_by_one, whole)


@each
def test_rates_follow_the_learning_rate(schedule):
    rates = table(schedule, 120, 10, 100)
    factor = 1 if isinstance(schedule, schedules.RangeTest) else 2
    np.testing.assert_allclose(schedule.rates(2 * LR, 0, 120, 10, 100), factor * rates, rtol=1e-15)


@each
def test_schedules_are_values(schedule):
    same = copy.deepcopy(schedule)
    assert same == schedule
    assert hash(same) == hash(schedule)
    assert schedules.get(schedule) is schedule
    if "lambda" not in repr(schedule):
        assert pickle.loads(pickle.dumps(schedule)) == schedule
        assert eval(repr(schedule), vars(schedules).copy()) == schedule
    with pytest.raises(AttributeError):
        schedule.lr = 1


@each
@pytest.mark.parametrize(("steps_per_epoch", "total_steps"), [(1, 1), (1, 2), (1, 3), (7, 7)])
def test_trainings_of_a_few_updates(schedule, steps_per_epoch, total_steps):
    rates = table(schedule, total_steps, steps_per_epoch, total_steps)
    assert np.all(np.isfinite(rates))


def test_far_into_training():
    """Where int32 and float32 would have given up."""
    for schedule in EACH.values():
        rates = schedule.rates(LR, 10**11, 3, 10**6, 2 * 10**11)
        assert np.all(np.isfinite(rates))
    close(fm.Cosine().rates(LR, 10**11, 1, 10**6, 2 * 10**11), [LR / 2])


def test_settings_are_plain_numbers():
    schedule = fm.Cosine(epochs=np.int64(3), to_factor=np.float32(0.5))
    assert repr(schedule) == (
        "Cosine(epochs=3, steps=None, to_factor=0.5, restarts=False, growth=1)"
    )
    assert fm.MultiStep(epochs=np.array([1, 2])).epochs == (1, 2)


# ---- against formulas


def test_time_in_epochs_is_time_in_steps():
    for kind in (fm.Cosine, fm.OneCycle, fm.Polynomial, schedules.RangeTest):
        in_steps = table(kind(steps=60), 100)
        np.testing.assert_array_equal(table(kind(epochs=6), 100, 10), in_steps)
        np.testing.assert_array_equal(table(kind(), 100, 10, 60), in_steps)
        # What the schedule was given counts for more than the call of fit.
        np.testing.assert_array_equal(table(kind(steps=60), 100, 10, 90), in_steps)


def test_the_end_stays():
    for schedule, last in (
        (fm.Cosine(steps=10, to_factor=0.2), 0.2 * LR),
        (fm.Polynomial(steps=10, to_factor=0.2), 0.2 * LR),
        (fm.OneCycle(steps=10), LR / 25 / 1e4),
        (schedules.RangeTest(lr_max=3, steps=10), 3),
    ):
        close(table(schedule, 40)[10:], np.full(30, last))


def test_range_test():
    rates = table(schedules.RangeTest(1e-6, 2), 50, total_steps=50)
    np.testing.assert_allclose(rates, np.geomspace(1e-6, 2, 50), rtol=1e-12)
    np.testing.assert_array_equal(table(schedules.RangeTest(1e-6, 2), 1, total_steps=1), [1e-6])


def test_inverse_scaling():
    close(table(fm.InverseScaling(power=0.5), 1000), LR / np.arange(1, 1001) ** 0.5)


def test_inverse_scaling_is_scikit_learns():
    sk = pytest.importorskip("sklearn.neural_network", reason="scikit-learn is not installed")
    x, y = np.linspace(-1, 1, 60).reshape(20, 3), np.linspace(0, 1, 20)
    theirs = sk.MLPRegressor(
        hidden_layer_sizes=[2],
        solver="sgd",
        learning_rate="invscaling",
        learning_rate_init=LR,
        power_t=0.4,
        batch_size=6,
        random_state=0,
    )
    expected = []
    for _ in range(5):
        theirs.partial_fit(x, y)
        # It is set for the epoch to come.
        expected.append(theirs._optimizer.learning_rate)
    rates = table(fm.InverseScaling(power=0.4, rows=20), 24, steps_per_epoch=4)
    close(rates[0], LR)
    close(rates[4:], np.repeat(expected, 4))


def test_an_epoch_that_was_cut_short_moves_the_epochs():
    """Epoch 1 was interrupted after 3 of 10 updates and begins anew with update 13."""
    schedule = fm.Step(factor=0.5, epochs=1)
    rates = schedule.rates(LR, 13, 20, 10, epoch_zero=3)
    close(rates, LR * np.repeat([0.5, 0.25], 10))


# ---- warm-up


def test_warm_up_alone():
    rates = table(fm.Warmup(steps=4, from_factor=0.2), 7)
    close(rates, LR * np.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1]))
    np.testing.assert_array_equal(table(fm.Warmup(epochs=2, from_factor=0.2), 7, 2), rates)


def test_warm_up_leaves_the_rest_of_the_fit_to_the_schedule():
    rates = table(fm.Warmup("cosine", steps=20), 100, 10, 100)
    np.testing.assert_array_equal(rates[20:], table(fm.Cosine(steps=80), 80))


def test_warm_up_ends_where_the_schedule_begins():
    rates = table(fm.Warmup(fm.OneCycle(steps=50), steps=10, from_factor=0.5), 60)
    np.testing.assert_array_equal(rates[10:], table(fm.OneCycle(steps=50), 50))
    close(rates[:10], np.linspace(0.5, 1, 10, endpoint=False) * LR / 25)


@pytest.mark.parametrize("epoch_zero", [0, -30, 4])
@pytest.mark.parametrize("warm", [1, 9, 10, 11, 25, 40])
def test_after_a_warm_up_epochs_are_still_trainings(warm, epoch_zero):
    """They count from the one in which the warm-up ends, and change when training's do."""
    seen = []

    def after(step, epoch):
        seen.append((step, epoch))
        return 1.0

    schedule = fm.Warmup(after, steps=warm)
    first = max(epoch_zero, 0)
    schedule.rates(LR, first, 100 - first, 10, epoch_zero=epoch_zero)
    updates = np.arange(max(warm, first), 100)
    epochs = (updates - epoch_zero) // 10
    from_epoch = max((warm - epoch_zero) // 10, 0)
    expected = list(zip(updates - warm, epochs - from_epoch, strict=True))
    # The first call is for where the warm-up is to end.
    assert seen == ([(0, 0), *expected] if warm > first else expected)


def test_warm_up_longer_than_training():
    rates = table(fm.Warmup("cosine", steps=100, from_factor=0), 50, 10, 50)
    close(rates, LR * np.arange(50) / 100)


# ---- users' own


def test_functions():
    calls = []

    def mine(step, epoch):
        assert (type(step), type(epoch)) == (int, int)
        calls.append((step, epoch))
        return np.float32(0.5) if step % 2 else 1

    schedule = schedules.get(mine)
    rates = schedule.rates(LR, 3, 6, 4)
    close(rates, LR * np.array([0.5, 1, 0.5, 1, 0.5, 1]))
    assert calls == [(3, 0), (4, 1), (5, 1), (6, 1), (7, 1), (8, 2)]


def test_functions_know_no_epoch_in_a_loop_by_hand():
    close(table(schedules.get(lambda step, epoch: 0.5**step), 3), [LR, LR / 2, LR / 4])
    seen = set()
    table(schedules.get(lambda step, epoch: seen.add(epoch) or 1.0), 3)
    assert seen == {None}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, None, "1", True, [1.0]])
def test_functions_that_return_no_factor(bad):
    schedule = schedules.get(lambda step, epoch: bad if step == 5 else 1.0)
    table(schedule, 5, 4)
    message = f"schedule(5, 1): got {bad!r}, expected a finite number of at least 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        table(schedule, 6, 4)


def test_errors_in_functions_come_through():
    with pytest.raises(ZeroDivisionError):
        table(schedules.get(lambda step, epoch: 1 / (2 - step)), 4, 4)


# ---- on plateau


def reduced(schedule, values, state=None):
    """The rate in each epoch: what came before it decides."""
    state = schedule.new_state() if state is None else state
    rates = []
    for value in values:
        rates.append(schedule.rates(LR, len(rates), 1, 1, state=state)[0])
        schedule.after_epoch(state, {schedule.metric: value})
    return rates


def test_on_plateau():
    schedule = fm.OnPlateau(factor=0.5, patience=1, metric="val_loss", min_lr=LR / 5)
    rates = reduced(schedule, [1, 0.5, 0.5, np.nan, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4])
    close(rates, LR * np.array([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]))
    close(table(schedule, 4), np.full(4, LR))


def test_on_plateau_leaves_a_rate_below_its_lowest_alone():
    close(reduced(fm.OnPlateau(patience=0, min_lr=2 * LR), [1, 1, 1]), [LR, LR, LR])


def test_the_state_saved_and_restored_goes_on_exactly(rng):
    schedule = fm.Warmup(fm.OnPlateau(factor=0.7, patience=2, cooldown=1), steps=5)
    values = rng.normal(size=60) ** 2
    state, rates = schedule.new_state(), []
    for epoch, value in enumerate(values):
        if epoch == 31:
            # As a checkpoint does it: numbers to bytes and back, the schedule from its settings.
            saved = np.asarray(state).tobytes()
            schedule = eval(repr(schedule), vars(schedules).copy())
            state = np.frombuffer(saved).copy()
        rates.append(schedule.rates(LR, epoch, 1, 1, state=state))
        schedule.after_epoch(state, {"loss": value, "val_loss": -1.0})
    uncut, expected = schedule.new_state(), []
    for epoch, value in enumerate(values):
        expected.append(schedule.rates(LR, epoch, 1, 1, state=uncut))
        schedule.after_epoch(uncut, {"loss": value})
    np.testing.assert_array_equal(rates, expected)
    np.testing.assert_array_equal(state, uncut)
    assert len(np.unique(expected)) > 8


def test_only_on_plateau_watches():
    plateau = fm.OnPlateau(metric="val_accuracy", mode="max")
    assert plateau.watches == "val_accuracy"
    assert fm.Warmup(plateau, epochs=1).watches == "val_accuracy"
    assert fm.Warmup("cosine", epochs=1).watches is None
    assert fm.Cosine().watches is None
    state = fm.Cosine().new_state()
    assert state.size == 0
    fm.Cosine().after_epoch(state, {"loss": 1.0})
    fm.Cosine().check_measured(["loss"])
    plateau.check_measured(["loss", "val_accuracy"])


def test_one_object_serves_any_number_of_trainers():
    schedule = fm.OnPlateau(patience=0)
    one, other = schedule.new_state(), schedule.new_state()
    for _ in range(3):
        schedule.after_epoch(one, {"loss": 1.0})
    assert schedule.rates(LR, 0, 1, state=one) < LR
    assert schedule.rates(LR, 0, 1, state=other) == LR


# ---- against PyTorch


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def their_rates(torch):
    """Rates as PyTorch's scheduler sets them: ``their_rates(make, n)``."""

    def collect(make, n_steps):
        optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=LR)
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        rates = []
        for _ in range(n_steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return np.array(rates)

    return collect


SAME_AS_PYTORCH = {
    "step": (fm.Step(factor=0.4, steps=7), lambda lib, o: lib.StepLR(o, 7, 0.4)),
    "multi step": (
        fm.MultiStep(factor=0.4, steps=[3, 4, 50]),
        lambda lib, o: lib.MultiStepLR(o, [3, 4, 50], 0.4),
    ),
    "exponential": (
        fm.Exponential(factor=0.95, steps=1),
        lambda lib, o: lib.ExponentialLR(o, 0.95),
    ),
    "polynomial": (
        fm.Polynomial(steps=80, power=1.7),
        lambda lib, o: lib.PolynomialLR(o, 80, 1.7),
    ),
    "linear": (
        fm.Polynomial(steps=80, to_factor=0.2),
        lambda lib, o: lib.LinearLR(o, 1.0, 0.2, 80),
    ),
    "cosine": (
        fm.Cosine(steps=100, to_factor=0.1),
        lambda lib, o: lib.CosineAnnealingLR(o, 100, 0.1 * LR),
    ),
    "restarts": (
        fm.Cosine(steps=9, to_factor=0.1, restarts=True),
        lambda lib, o: lib.CosineAnnealingWarmRestarts(o, 9, 1, 0.1 * LR),
    ),
    "restarts, growth 2": (
        fm.Cosine(steps=5, restarts=True, growth=2),
        lambda lib, o: lib.CosineAnnealingWarmRestarts(o, 5, 2),
    ),
    "restarts, growth 3": (
        fm.Cosine(steps=2, restarts=True, growth=3),
        lambda lib, o: lib.CosineAnnealingWarmRestarts(o, 2, 3),
    ),
    "function": (
        schedules.FromFunction(lambda step, epoch: 1 / (1 + step)),
        lambda lib, o: lib.LambdaLR(o, lambda step: 1 / (1 + step)),
    ),
    "warm-up": (
        fm.Warmup(steps=20, from_factor=0.05),
        lambda lib, o: lib.LinearLR(o, 0.05, 1.0, 20),
    ),
    "warm-up, cosine": (
        fm.Warmup(fm.Cosine(steps=80), steps=20, from_factor=0.05),
        lambda lib, o: lib.SequentialLR(
            o, [lib.LinearLR(o, 0.05, 1.0, 20), lib.CosineAnnealingLR(o, 80)], [20]
        ),
    ),
    "warm-up, step": (
        fm.Warmup(fm.Step(factor=0.4, steps=30), steps=20, from_factor=0.05),
        lambda lib, o: lib.SequentialLR(
            o, [lib.LinearLR(o, 0.05, 1.0, 20), lib.StepLR(o, 30, 0.4)], [20]
        ),
    ),
}


@pytest.mark.parametrize(("ours", "make"), SAME_AS_PYTORCH.values(), ids=SAME_AS_PYTORCH)
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # SequentialLR's own doing
def test_same_as_pytorch(ours, make, their_rates):
    expected = their_rates(make, 100)
    close(table(ours, 100), expected)
    # Asked once an epoch there, and counting epochs here.
    if getattr(ours, "steps", None) is not None and not isinstance(ours, fm.Warmup):
        by_epoch = type(ours)(**{**vars(ours), "epochs": ours.steps, "steps": None})
        stairs = isinstance(ours, fm.Step | fm.MultiStep | fm.Exponential)
        rates = table(by_epoch, 300, steps_per_epoch=3)
        close(rates if stairs else rates[::3], np.repeat(expected, 3 if stairs else 1))


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal", ["cosine", "linear"])
@pytest.mark.parametrize("rise", [0.0, 0.25, 0.3, 0.5])
@pytest.mark.parametrize("length", [3, 7, 11, 100])
def test_one_cycle_is_pytorchs(length, rise, anneal, three_phase, their_rates):
    factors = {"div_factor": 20, "final_div_factor": 300, "three_phase": three_phase}
    strategy = {"cosine": "cos", "linear": "linear"}[anneal]
    expected = their_rates(
        lambda lib, o: lib.OneCycleLR(
            o,
            LR,
            length,
            pct_start=rise,
            anneal_strategy=strategy,
            cycle_momentum=False,
            **factors,
        ),
        length,
    )
    close(table(fm.OneCycle(steps=length, rise=rise, anneal=anneal, **factors), length), expected)


@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_whose_rise_is_one_update(three_phase):
    """Where PyTorch divides by zero."""
    schedule = fm.OneCycle(steps=10, rise=0.1, anneal="linear", three_phase=three_phase)
    lowest = 1 / 25 / 1e4
    expected = np.linspace(1, lowest, 10)
    if three_phase:
        expected = np.array([1, *np.linspace(1 / 25, lowest, 10)[1:]])
    close(table(schedule, 10), LR * expected)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (3, 4)])
@pytest.mark.parametrize("min_lr", [0.0, LR / 20])
def test_on_plateau_is_pytorchs(mode, threshold_mode, patience, cooldown, min_lr, torch, rng):
    values = np.exp(np.cumsum(rng.normal(size=300)) * 0.1) + 0.1 * rng.normal(size=300)
    ours = fm.OnPlateau(
        factor=0.8,
        patience=patience,
        threshold=0.02,
        min_lr=min_lr,
        cooldown=cooldown,
        mode=mode,
        threshold_mode=threshold_mode,
    )
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=LR)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode=mode,
        factor=0.8,
        patience=patience,
        threshold=0.02,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_lr=min_lr,
        eps=0,
    )
    expected = []
    for value in values:
        expected.append(optimizer.param_groups[0]["lr"])
        theirs.step(value)
    close(reduced(ours, values), expected)
    assert len(set(expected)) > 5


# ---- names and errors


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_names(name):
    schedule = schedules.get(name)
    assert schedule == schedules.SCHEDULES[name]()
    assert table(schedule, 5, 2, 5).shape == (5,)


def test_get():
    assert schedules.get(None) == fm.Constant()
    assert schedules.get("linear") == fm.Polynomial(power=1)
    assert isinstance(schedules.get(max), schedules.FromFunction)
    assert fm.Warmup("cosine", epochs=1) == fm.Warmup(fm.Cosine(), epochs=1)


WRONG = [
    (lambda: schedules.get("cosin"), "schedule: unknown name 'cosin'; did you mean 'cosine'? "),
    (lambda: fm.Warmup("cosin", epochs=1), "schedule: unknown name 'cosin'"),
    (lambda: fm.Step(factor=1), "factor: got 1, expected a finite number above 0 and below 1"),
    (lambda: fm.Step(factor=0), "factor: got 0, "),
    (lambda: fm.Step(epochs=0), "epochs: got 0, expected a whole number of at least 1"),
    (lambda: fm.Step(epochs=2.5), "epochs: got 2.5, expected a whole number of at least 1"),
    (lambda: fm.Step(steps=2**60), "steps: got 1152921504606846976, expected"),
    (lambda: fm.Step(epochs=1, steps=2), "steps: got 2 and epochs=1; give one of the two"),
    (lambda: fm.Exponential(factor=-1), "factor: got -1, "),
    (lambda: fm.MultiStep(), "epochs: got None, expected whole numbers of at least 1 in increas"),
    (lambda: fm.MultiStep(epochs=[]), "epochs: got [], expected whole numbers"),
    (lambda: fm.MultiStep(epochs=5), "epochs: got 5, expected whole numbers"),
    (lambda: fm.MultiStep(steps=[3, 3]), "steps: got [3, 3], expected whole numbers"),
    (lambda: fm.MultiStep(steps=[3, 2]), "steps: got [3, 2], expected whole numbers"),
    (lambda: fm.MultiStep(steps=[0.5]), "steps: got [0.5], expected whole numbers"),
    (lambda: fm.MultiStep(epochs=[1], steps=[2]), "steps: got [2] and epochs=[1]; give one of"),
    (lambda: fm.Polynomial(power=0), "power: got 0, expected a finite number above 0"),
    (lambda: fm.Cosine(to_factor=1), "to_factor: got 1, expected a finite number of at least 0"),
    (lambda: fm.Cosine(restarts=True), "restarts: got True without a time; give epochs=… or ste"),
    (lambda: fm.Cosine(steps=2, growth=2), "growth: got 2 with restarts=False; give restarts=True"),
    (lambda: fm.Cosine(steps=2, restarts=True, growth=0), "growth: got 0, expected a whole number"),
    (lambda: fm.OneCycle(rise=1), "rise: got 1, expected a finite number of at least 0 and below"),
    (lambda: fm.OneCycle(rise=0.6, three_phase=True), "rise: got 0.6 with three_phase=True, "),
    (lambda: fm.OneCycle(anneal="cos"), "anneal: got 'cos', expected 'cosine' or 'linear'"),
    (lambda: fm.OneCycle(div_factor=0.5), "div_factor: got 0.5, expected a finite number of at l"),
    (lambda: fm.InverseScaling(power=-1), "power: got -1, "),
    (lambda: fm.InverseScaling(rows=0), "rows: got 0, expected a whole number of at least 1"),
    (lambda: fm.OnPlateau(factor=1.5), "factor: got 1.5, "),
    (lambda: fm.OnPlateau(patience=-1), "patience: got -1, expected a whole number of at least 0"),
    (lambda: fm.OnPlateau(cooldown=0.5), "cooldown: got 0.5, expected a whole number"),
    (lambda: fm.OnPlateau(threshold=1), "threshold: got 1, expected a finite number of at least 0"),
    (lambda: fm.OnPlateau(min_lr=-1), "min_lr: got -1, "),
    (lambda: fm.OnPlateau(mode="up"), "mode: got 'up', expected 'min' or 'max'"),
    (lambda: fm.OnPlateau(threshold_mode=""), "threshold_mode: got '', expected 'rel' or 'abs'"),
    (
        lambda: fm.OnPlateau(metric="val_loss").check_measured(["loss"]),
        "schedule: it watches 'val_loss', which is not measured; give validation_data and metrics "
        "to fit, or watch one of loss",
    ),
    (
        lambda: fm.OnPlateau(metric="b").after_epoch(fm.OnPlateau().new_state(), {"a": 1.0}),
        "schedule: it watches 'b', which is not measured",
    ),
    (lambda: fm.Warmup("cosine"), "epochs: got None and steps=None; say how long the warm-up"),
    (lambda: fm.Warmup(steps=5, from_factor=1), "from_factor: got 1, expected a finite number"),
    (lambda: schedules.RangeTest(lr_min=0), "lr_min: got 0, expected a finite number above 0"),
    (lambda: schedules.RangeTest(1, 1), "lr_max: got 1, expected a finite number above 1"),
    (
        lambda: table(fm.Cosine(epochs=3), 5),
        "schedule: Cosine(epochs=3, steps=None, to_factor=0.0, restarts=False, growth=1) counts "
        "epochs, but there are none in a loop by hand; use a schedule that counts steps",
    ),
    (lambda: table(fm.Step(), 5), "schedule: Step(factor=0.1, epochs=30, steps=None) counts"),
    (lambda: table(fm.InverseScaling(rows=9), 5), "schedule: InverseScaling(power=0.5, rows=9) co"),
    (lambda: table(fm.Warmup(epochs=1), 5), "schedule: Warmup("),
    (
        lambda: table(fm.Polynomial(), 5),
        "schedule: Polynomial(epochs=None, steps=None, power=1.0, to_factor=0.0) does not know how "
        "long it is to last; give it steps=…, or epochs=… for training with fit",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "message"), WRONG, ids=[message for _, message in WRONG])
def test_mistakes(mistake, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        mistake()


@pytest.mark.parametrize("wrong", [0.5, fm.Cosine, ["cosine"]])
def test_what_is_no_schedule(wrong):
    with pytest.raises(TypeError, match=r"^schedule: got .*, expected a name; known are constant"):
        schedules.get(wrong)


def test_wrong_types():
    with pytest.raises(TypeError, match=r"^metric: got 3 of type int, expected a name in history"):
        fm.OnPlateau(metric=3)
    with pytest.raises(TypeError, match=r"^function: got 3 of type int, expected a function of"):
        schedules.FromFunction(3)
