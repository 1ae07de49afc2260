"""Bad input: every mistake has its one sentence, its exception type, and changes nothing."""

import contextlib
import warnings

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import activations, initializers, losses, metrics, optimizers

X = np.linspace(-1, 1, 30).reshape(10, 3)
Y = np.linspace(0, 1, 20).reshape(10, 2)
LABELS = np.arange(10) % 2
NAN, INF = np.nan, np.inf
BACKSLASH = chr(92)


def spoiled(array, row, column, value):
    copied = np.array(array, np.float64)
    copied[row, column] = value
    return copied


COUNTS_BELOW_0 = spoiled(LABELS[:, None] * [1, 2], 3, 1, -1)


def masked(array):
    return np.ma.masked_array(array, mask=np.zeros(array.shape, bool))


class Workshop:
    """A regressor and a classifier, each trained a little: what a mistake must not change."""

    def __init__(self):
        self.mlp = fm.MLP([3, 4, 2], seed=0)
        self.trainer = fm.Trainer(self.mlp, seed=0)
        self.trainer.fit(X, Y, epochs=2)
        self.classifier = fm.MLP([3, 4, 2], output="softmax", seed=0)
        self.class_trainer = fm.Trainer(self.classifier, seed=0)
        self.class_trainer.fit(X, LABELS, epochs=2)
        self.binary = fm.MLP([3, 4, 2], output="sigmoid", seed=0)
        self.counter = fm.MLP([3, 4, 2], output="exp", seed=0)
        self.wide = fm.MLP([3, 1000], output="softmax", seed=0)

    def fit(self, X=X, y=Y, **options):
        return self.trainer.fit(X, y, **options)

    def fit_classes(self, y, X=X, **options):
        return self.class_trainer.fit(X, y, **options)

    def idle(self):
        """A trainer without a minibatch in it."""
        return fm.Trainer(self.mlp)

    def compute_loss(self, t, sample_weight=None):
        self.trainer.forward(X)
        return self.trainer.compute_loss(t, sample_weight)

    def state(self):
        """All that a mistake could have changed."""
        trainers = self.trainer, self.class_trainer
        return (
            [mlp.params.tobytes() for mlp in vars(self).values() if isinstance(mlp, fm.MLP)],
            [{**t.history, "why": t.history.stop_reason} for t in trainers],
            [(t.epoch, t.n_steps, t.epoch_range, t.grads.tobytes()) for t in trainers],
            [(t._state.tobytes(), t._position.tobytes()) for t in trainers],
        )


@pytest.fixture
def workshop():
    return Workshop()


# A row: what it is about, what is called, the exception, the whole message as a pattern.
MISTAKES = []


def mistakes(subject, *rows):
    MISTAKES.extend(
        pytest.param(call, error, pattern, id=f"{subject}: {pattern.replace(BACKSLASH, '')[:40]}")
        for call, error, pattern in rows
    )


# ---- arrays

mistakes(
    "features",
    (lambda w: w.mlp.predict(X[:, :2]), ValueError, r"X: got 2 columns, expected 3.*inputs"),
    (lambda w: w.mlp.predict(X[:, :0]), ValueError, r"X: got 0 columns, expected 3.*inputs"),
    (lambda w: w.fit(np.zeros((10, 4))), ValueError, r"X: got 4 columns, expected 3.*inputs"),
    (lambda w: w.mlp.evaluate(X[:, :2], Y), ValueError, r"X: got 2 columns, expected 3.*inputs"),
    (lambda w: w.trainer.forward(X[:, :2]), ValueError, r"x: got 2 columns, expected 3.*inputs"),
    (lambda w: w.mlp.trace(X[:, :2], Y), ValueError, r"x: got 2 columns, expected 3.*inputs"),
    (
        lambda w: w.fit(validation_data=(X[:, :2], Y)),
        ValueError,
        r"validation_data X: got 2 columns, expected 3.*inputs",
    ),
)
mistakes(
    "rows",
    (lambda w: w.fit(y=Y[:9]), ValueError, r"y: got 9 rows, expected 10, as many as X"),
    (lambda w: w.fit(X[:9]), ValueError, r"y: got 10 rows, expected 9, as many as X"),
    (lambda w: w.fit_classes(LABELS[:9]), ValueError, r"y: got 9 rows, expected 10"),
    (lambda w: w.mlp.evaluate(X, Y[:9]), ValueError, r"y: got 9 rows, expected 10"),
    (lambda w: w.compute_loss(Y[:9]), ValueError, r"t: got 9 rows, expected 10"),
    (
        lambda w: w.fit(validation_data=(X, Y[:9])),
        ValueError,
        r"validation_data y: got 9 rows, expected 10",
    ),
    (
        lambda w: w.fit(sample_weight=np.ones(9)),
        ValueError,
        r"sample_weight: got shape \(9,\), expected \(10,\)",
    ),
    (
        lambda w: w.fit(sample_weight=np.ones((10, 2))),
        ValueError,
        r"sample_weight: got shape \(10, 2\), expected \(10,\)",
    ),
    (lambda w: w.fit(sample_weight=3), ValueError, r"sample_weight: got shape \(\), expected"),
)
mistakes(
    "columns of targets",
    (lambda w: w.fit(y=np.ones((10, 3))), ValueError, r"y: got 3 columns, expected 2.*outputs"),
    (lambda w: w.fit(y=Y[:, 0]), ValueError, r"y: got 1 columns?, expected 2.*outputs"),
    (lambda w: w.fit_classes(np.ones((10, 3)) / 3), ValueError, r"y: got 3 columns, expected 2"),
    (lambda w: w.compute_loss(np.ones((10, 3))), ValueError, r"t: got 3 columns, expected 2"),
)
mistakes(
    "dimensions",
    (
        lambda w: w.mlp.predict([1, 2, 3]),
        ValueError,
        r"X: got 1 dimension, shape \(3,\), expected two, \(rows, 3\); X\[None, :\].*X\[:, None\]",
    ),
    (lambda w: w.mlp.predict(5), ValueError, r"X: got 0 dimensions, shape \(\), expected two"),
    (lambda w: w.mlp.predict(X[None]), ValueError, r"X: got 3 dimensions, .*expected two"),
    (lambda w: w.fit(y=Y[None]), ValueError, r"y: got 3 dimensions, .*expected two"),
    (lambda w: w.fit(y=3.0), ValueError, r"y: got 0 dimensions, .*expected two"),
)
mistakes(
    "empty arrays",
    (lambda w: w.mlp.predict(X[:0]), ValueError, r"X: got no rows, expected at least one"),
    (lambda w: w.fit(X[:0], Y[:0]), ValueError, r"X: got no rows, expected at least one"),
    (lambda w: w.mlp.predict([]), ValueError, r"X: got .*shape \(0,\), expected two"),
    (lambda w: w.mlp.evaluate(X[:0], Y[:0]), ValueError, r"X: got no rows"),
    (lambda w: w.trainer.forward(X[:0]), ValueError, r"x: got no rows"),
    (lambda w: w.fit(y=[]), ValueError, r"y: got 0 rows, expected 10"),
    (
        lambda w: w.fit(validation_data=(X[:0], Y[:0])),
        ValueError,
        r"validation_data X: got no rows",
    ),
)


def not_finite(value, shown):
    bad_X, bad_Y = spoiled(X, 7, 1, value), spoiled(Y, 7, 1, value)
    bad_half = spoiled(np.full((10, 2), 0.5), 7, 1, value)
    bad_weight = spoiled(np.ones((10, 1)), 7, 0, value)[:, 0]
    mistakes(
        f"not finite, {shown}",
        (lambda w, X=bad_X: w.mlp.predict(X), ValueError, rf"X: row 7 holds {shown} in column 1"),
        (lambda w, X=bad_X: w.fit(X), ValueError, rf"X: row 7 holds {shown} in column 1"),
        (lambda w, X=bad_X: w.mlp.evaluate(X, Y), ValueError, rf"X: row 7 holds {shown}"),
        (lambda w, X=bad_X: w.trainer.forward(X), ValueError, rf"x: row 7 holds {shown}"),
        (lambda w, y=bad_Y: w.fit(y=y), ValueError, rf"y: row 7 holds {shown} in column 1"),
        (lambda w, y=bad_Y: w.compute_loss(y), ValueError, rf"t: row 7 holds {shown} in column 1"),
        (lambda w, y=bad_Y: w.mlp.evaluate(X, y), ValueError, rf"y: row 7 holds {shown}"),
        (lambda w, y=bad_half: w.fit_classes(y), ValueError, rf"y: row 7 holds {shown}"),
        (
            lambda w, X=bad_X: w.fit(validation_data=(X, Y)),
            ValueError,
            rf"validation_data X: row 7 holds {shown}",
        ),
        (
            lambda w, v=bad_weight: w.fit(sample_weight=v),
            ValueError,
            rf"sample_weight: row 7 holds {shown}",
        ),
    )


for value in (NAN, INF, -INF):
    not_finite(value, str(value))
mistakes(
    "not finite",
    (
        lambda w: w.fit_classes(np.full((10, 2), [INF, -INF])),
        ValueError,
        r"y: row 0 (holds|is) .*inf",
    ),
    (lambda w: w.fit_classes([NAN] * 10), ValueError, r"y: row 0 holds nan, expected a class"),
    (
        lambda w: w.mlp.predict(spoiled(X, 4, 2, 1e39)),
        ValueError,
        r"X: row 4 holds 1e\+39 in column 2, more than float32 can hold; .*dtype='float64'",
    ),
    (lambda w: w.fit(y=spoiled(Y, 4, 0, -1e39)), ValueError, r"y: row 4 holds -1e\+39 .*float32"),
)
mistakes(
    "not numbers",
    (lambda w: w.mlp.predict([["a", "b", "c"]]), TypeError, r"X: got strings, expected real"),
    (lambda w: w.mlp.predict([[b"a", b"b", b"c"]]), TypeError, r"X: got byte strings, expected"),
    (lambda w: w.mlp.predict([[None, 1, 2]]), TypeError, r"X: got Python objects, expected real"),
    (lambda w: w.mlp.predict(None), TypeError, r"X: got Python objects, expected real"),
    (lambda w: w.mlp.predict(X + 1j), TypeError, r"X: got complex numbers, expected real"),
    (lambda w: w.mlp.predict(X.astype("M8[s]")), TypeError, r"X: got datetime64\[s\], expected"),
    (lambda w: w.mlp.predict(masked(X)), TypeError, r"X: got a masked array, expected plain"),
    (lambda w: w.fit(y=Y.astype(str)), TypeError, r"y: got strings, expected real numbers"),
    (lambda w: w.fit(y=Y.astype(object)), TypeError, r"y: got Python objects, expected real"),
    (lambda w: w.fit(y=masked(Y)), TypeError, r"y: got a masked array, expected plain"),
    (lambda w: w.fit_classes(["cat", "dog"] * 5), TypeError, r"y: got strings, expected real"),
    (lambda w: w.fit(sample_weight=["a"] * 10), TypeError, r"sample_weight: got strings, expected"),
    (lambda w: w.compute_loss([["a", "b"]] * 10), TypeError, r"t: got strings, expected real"),
    (
        lambda w: w.mlp.predict([[1, 2, 3], [1]]),
        ValueError,
        r"X: cannot be read as an array of numbers .*give every row the same length",
    ),
)
mistakes(
    "labels",
    (
        lambda w: w.fit_classes([0, 1, 2] + [0] * 7),
        ValueError,
        r"y: row 2 holds the class 2, expected one from 0 to 1; the network has 2 outputs",
    ),
    (lambda w: w.fit_classes([0, -1] * 5), ValueError, r"y: row 1 holds the class -1, expected"),
    (lambda w: w.fit_classes(LABELS + 0.5), ValueError, r"y: row 0 holds 0\.5, expected a class"),
    (
        lambda w: w.fit_classes(np.full((10, 2), 0.7)),
        ValueError,
        r"y: row 0 sums to 1\.4, expected class probabilities.* sum to 1",
    ),
    (
        lambda w: w.fit_classes(np.full((10, 2), [1.5, -0.5])),
        ValueError,
        r"y: row 0 holds -0\.5, expected class probabilities",
    ),
    (lambda w: w.wide.fit(X, np.zeros((10, 1000))), ValueError, r"y: row 0 .*class probabilities"),
    (
        lambda w: w.binary.fit(X, spoiled(Y, 3, 1, 1.01)),
        ValueError,
        r"y: row 3 holds 1\.01 in column 1, expected a number from 0 to 1 for 'binary_cross",
    ),
    (lambda w: w.binary.fit(X, Y - 0.5), ValueError, r"y: row 0 holds -0\.5 in column 0, expected"),
    *(
        (
            lambda w, call=call, loss=loss: call(w.counter, loss),
            ValueError,
            rf"y: row 3 holds -1\.0 in column 1, expected a number of at least 0 for '{loss}'; for",
        )
        for loss in ("poisson", "half_poisson_deviance")
        for call in (
            lambda mlp, loss: mlp.fit(X, COUNTS_BELOW_0, loss=loss),
            lambda mlp, loss: mlp.evaluate(X, COUNTS_BELOW_0, loss=loss),
        )
    ),
    (
        lambda w: w.fit(sample_weight=np.linspace(-1, 1, 10)),
        ValueError,
        r"sample_weight: row 0 has the weight -1\.0, expected 0 or more",
    ),
    (
        lambda w: w.fit(sample_weight=np.zeros(10)),
        ValueError,
        r"sample_weight: every weight is 0, expected at least one above",
    ),
)
mistakes(
    "out",
    *(
        (lambda w, out=out: w.mlp.predict(X, out=out), ValueError, rf"out: got {got}, expected a w")
        for out, got in [
            (np.zeros((10, 2)), r"float64 \(10, 2\)"),
            (np.zeros((9, 2), np.float32), r"float32 \(9, 2\)"),
            (np.zeros((2, 10), np.float32).T, r"float32 \(10, 2\)"),
            (np.broadcast_to(np.float32(0), (10, 2)), r"float32 \(10, 2\)"),
            ([[0, 0]] * 10, "list"),
        ]
    ),
)

# ---- the network

mistakes(
    "sizes",
    (lambda w: fm.MLP([3, 0, 2]), ValueError, r"sizes: got 0, expected whole numbers of at least"),
    (lambda w: fm.MLP([3, -2]), ValueError, r"sizes: got -2, expected whole numbers of at least 1"),
    (lambda w: fm.MLP([3, 2.0]), ValueError, r"sizes: got 2\.0, expected whole numbers"),
    (lambda w: fm.MLP([3, True]), ValueError, r"sizes: got True, expected whole numbers"),
    (lambda w: fm.MLP([3, "2"]), ValueError, r"sizes: got '2', expected whole numbers"),
    (lambda w: fm.MLP([3]), ValueError, r"sizes: got 1 numbers?, expected at least two"),
    (lambda w: fm.MLP([]), ValueError, r"sizes: got 0 numbers, expected at least two"),
    (lambda w: fm.MLP(3), TypeError, r"sizes: got 3, expected a sequence of whole numbers"),
    (lambda w: fm.MLP([2**40, 2**40]), (ValueError, MemoryError), r"sizes: got .*expected"),
)
mistakes(
    "settings of a network",
    (
        lambda w: fm.MLP([3, 4, 2], activation="softmax"),
        ValueError,
        r"activation: 'softmax' is for the output; give it as output='softmax'",
    ),
    (
        lambda w: fm.MLP([3, 4, 4, 2], activation=["relu"]),
        ValueError,
        r"activation: got 1 names?, expected one, or one for each of the 2 hidden layers",
    ),
    (lambda w: fm.MLP([3, 4, 2], activation=5), TypeError, r"activation: got 5.*expected"),
    (lambda w: fm.MLP([3, 4, 2], activation=None), TypeError, r"activation: got None.*expected"),
    (lambda w: fm.MLP([3, 4, 2], activation=[5]), TypeError, r"activation: got 5 of type int, exp"),
    (
        lambda w: fm.MLP([3, 4, 2], output=None),
        TypeError,
        r"output: got None of type NoneType, exp",
    ),
    (lambda w: fm.MLP([3, 4, 2], init=5), TypeError, r"init: got 5.*expected"),
    (
        lambda w: fm.MLP([3, 4, 2], init=["zeros"]),
        ValueError,
        r"init: got 1 names?, expected one, or one for each of the 2 layers",
    ),
    (lambda w: fm.MLP([3, 2], dtype="float16"), ValueError, r"dtype: got 'float16', expected 'flo"),
    (lambda w: fm.MLP([3, 2], dtype="real"), ValueError, r"dtype: got 'real', expected 'float32'"),
    (lambda w: fm.MLP([3, 2], dtype=None), ValueError, r"dtype: got None, expected 'float32'"),
    (lambda w: fm.MLP([3, 2], seed=-1), ValueError, r"seed: got -1, expected a whole number"),
    (lambda w: fm.MLP([3, 2], seed="a"), ValueError, r"seed: got 'a', expected a whole number"),
    (lambda w: fm.MLP([3, 2], seed=1.5), ValueError, r"seed: got 1\.5, expected a whole number"),
)
ONES = np.ones((3, 2)), np.ones(2)
mistakes(
    "given weights",
    (lambda w: fm.MLP.from_weights([], []), ValueError, r"biases: got 0 for 0 weights, expected"),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], []),
        ValueError,
        r"biases: got 0 for 1 weights, expected one bias vector for each",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[0], ONES[0]], [ONES[1], ONES[1]]),
        ValueError,
        r"weights\[1\]: got 3 rows, expected 2, as many as weights\[0\] has columns",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], [np.ones(3)]),
        ValueError,
        r"biases\[0\]: got shape \(3,\), expected \(2,\)",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[1]], [ONES[1]]),
        ValueError,
        r"weights\[0\]: got 1 dimension, shape \(2,\), expected two",
    ),
    (
        lambda w: fm.MLP.from_weights([spoiled(ONES[0], 2, 1, NAN)], [ONES[1]]),
        ValueError,
        r"weights\[0\]: row 2 holds nan in column 1, expected finite",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], [[0.0, INF]]),
        ValueError,
        r"biases\[0\]: .*holds inf in column 1, expected finite",
    ),
    (
        lambda w: fm.MLP.from_weights([[["a", "b"]]], [ONES[1]]),
        TypeError,
        r"weights\[0\]: got strings, expected real numbers",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], [["a", "b"]]),
        TypeError,
        r"biases\[0\]: got strings, expected real numbers",
    ),
    (
        lambda w: fm.MLP.from_weights([[[1, 2], [3]]], [ONES[1]]),
        ValueError,
        r"weights\[0\]: cannot be read as an array of numbers",
    ),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], [[1, [2]]]),
        ValueError,
        r"biases\[0\]: cannot be read as an array of numbers",
    ),
    (lambda w: fm.MLP.from_weights(None, [ONES[1]]), TypeError, r"weights: got None, expected"),
    (lambda w: fm.MLP.from_weights([ONES[0]], 5), TypeError, r"biases: got 5, expected"),
    (
        lambda w: fm.MLP.from_weights([ONES[0]], [ONES[1]], output="cross"),
        ValueError,
        r"output: unknown name 'cross'",
    ),
)

# ---- the trainer

for lr in (0, -0.1, NAN, INF, "0.1", True, None):
    for optimizer in (fm.SGD, fm.Adam):
        mistakes(
            optimizer.__name__,
            (lambda w, o=optimizer, lr=lr: o(lr=lr), ValueError, rf"lr: got {lr!r}, expected a "),
        )
mistakes(
    "settings of an optimizer",
    (
        lambda w: fm.SGD(momentum=1),
        ValueError,
        r"momentum: got 1, expected .*at least 0 and below 1",
    ),
    (
        lambda w: fm.SGD(momentum=-0.1),
        ValueError,
        r"momentum: got -0\.1, expected .*at least 0 and below 1",
    ),
    (lambda w: fm.SGD(momentum=NAN), ValueError, r"momentum: got nan, expected a finite number"),
    (lambda w: fm.SGD(nesterov=True), ValueError, r"nesterov: got True with momentum=0; give"),
    (lambda w: fm.Adam(beta1=1), ValueError, r"beta1: got 1, expected .*at least 0 and below 1"),
    (lambda w: fm.Adam(beta2=-1), ValueError, r"beta2: got -1, expected .*at least 0 and below 1"),
    (lambda w: fm.Adam(eps=0), ValueError, r"eps: got 0, expected .*above 0"),
)
mistakes(
    "settings of a trainer",
    (lambda w: fm.Trainer([3, 2]), TypeError, r"mlp: got list, expected a fastmlp\.MLP"),
    (lambda w: fm.Trainer(w.mlp, batch_size=0), ValueError, r"batch_size: got 0, expected a whole"),
    (lambda w: fm.Trainer(w.mlp, batch_size=2.5), ValueError, r"batch_size: got 2\.5, expected a"),
    (lambda w: fm.Trainer(w.mlp, batch_size=True), ValueError, r"batch_size: got True, expected a"),
    (lambda w: fm.Trainer(w.mlp, batch_size=None), ValueError, r"batch_size: got None, expected a"),
    (lambda w: fm.Trainer(w.mlp, l2=-1), ValueError, r"l2: got -1, expected a finite number of at"),
    (lambda w: fm.Trainer(w.mlp, l2=NAN), ValueError, r"l2: got nan, expected a finite number"),
    (lambda w: fm.Trainer(w.mlp, l2="0"), ValueError, r"l2: got '0', expected a finite number"),
    *(
        (
            lambda w, given=given: fm.Trainer(w.mlp, l2=1, penalties_over_rows=given),
            TypeError,
            rf"penalties_over_rows: got {given!r}, expected True or False",
        )
        for given in ("yes", 1, None)
    ),
    (
        lambda w: w.mlp.trace(X, Y, penalties_over_rows="no"),
        TypeError,
        r"penalties_over_rows: got 'no', expected True or False",
    ),
    (
        lambda w: w.mlp.fit(X, Y, penalties_over_rows="no"),
        TypeError,
        r"penalties_over_rows: got 'no', expected True or False",
    ),
    (lambda w: fm.Trainer(w.mlp, seed=-1), ValueError, r"seed: got -1, expected a whole number"),
    (lambda w: fm.Trainer(w.mlp, seed=2**64), ValueError, r"seed: got 18446744073709551616, expec"),
    (lambda w: fm.Trainer(w.mlp, seed=0.5), ValueError, r"seed: got 0\.5, expected a whole number"),
    (lambda w: fm.Trainer(w.mlp, n_threads=0), ValueError, r"n_threads: got 0, expected a whole"),
    (lambda w: fm.Trainer(w.mlp, n_threads=1.5), TypeError, r"n_threads: got 1\.5, expected a who"),
    (lambda w: w.mlp.predict(X, n_threads=-1), ValueError, r"n_threads: got -1, expected a whole"),
    (lambda w: fm.set_num_threads(0), ValueError, r"n_threads: got 0, expected a whole number"),
    (lambda w: fm.set_num_threads("2"), TypeError, r"n_threads: got '2', expected a whole number"),
    (
        lambda w: fm.MeanSquaredError(reduction="men"),
        ValueError,
        r"reduction: got 'men', expected 'mean' or 'sum'",
    ),
    (lambda w: fm.Trainer(w.mlp, loss=5), TypeError, r"loss: got 5 of type int, expected"),
    (lambda w: fm.Trainer(w.mlp, loss=fm.MeanSquaredError), TypeError, r"loss: got <class .*expec"),
    (
        lambda w: fm.Trainer(w.mlp, optimizer=5),
        TypeError,
        r"optimizer: got 5 of type int, expected",
    ),
    (lambda w: fm.Trainer(w.mlp, optimizer=fm.Adam), TypeError, r"optimizer: got <class .*expect"),
    (lambda w: fm.Progress(lines=0), ValueError, r"lines: got 0, expected a whole number of at"),
    (lambda w: fm.show_config(mode="yaml"), ValueError, r"mode: got 'yaml', expected 'stdout' or"),
)
mistakes(
    "options of fit",
    (
        lambda w: w.fit(epochs=0),
        ValueError,
        r"epochs: got 0, expected a whole number of at least 1",
    ),
    (lambda w: w.fit(epochs=-3), ValueError, r"epochs: got -3, expected a whole number"),
    (lambda w: w.fit(epochs=1.5), ValueError, r"epochs: got 1\.5, expected a whole number"),
    (lambda w: w.fit(patience=0), ValueError, r"patience: got 0, expected a whole number"),
    (lambda w: w.fit(tol=-0.1), ValueError, r"tol: got -0\.1, expected a finite number of at lea"),
    (lambda w: w.fit(tol=NAN), ValueError, r"tol: got nan, expected a finite number"),
    (lambda w: w.fit(target_loss=NAN), ValueError, r"target_loss: got nan, expected a finite"),
    (lambda w: w.fit(target_loss="0"), ValueError, r"target_loss: got '0', expected a finite"),
    (
        lambda w: w.fit(callbacks=[print]),
        TypeError,
        r"callbacks: got \[?<built-in.*expected .*objects",
    ),
    (
        lambda w: w.fit(callbacks=[fm.Progress]),
        TypeError,
        r"callbacks: got \[?<class.*expected .*object",
    ),
    (lambda w: w.fit(callbacks=fm.Progress()), TypeError, r"callbacks: got <fastmlp.*expected"),
    (lambda w: w.fit(metrics=["mse"]), ValueError, r"metrics: got some, but no validation_data"),
    (
        lambda w: w.fit(validation_data=(X, Y), metrics="mse"),
        (TypeError, ValueError),
        r"metrics: got 'mse', expected",
    ),
    (
        lambda w: w.mlp.evaluate(X, Y, metrics="mse"),
        (TypeError, ValueError),
        r"metrics: got 'mse', expected",
    ),
    (
        lambda w: w.mlp.evaluate(X, Y, metrics=["mse", lambda y, p: 0, lambda y, p: 1]),
        ValueError,
        r"metrics: two results would be called '<lambda>'; give each a name",
    ),
    (
        lambda w: w.fit(validation_data=(X, Y), metrics=[fm.metrics.Metric("loss", max, None)]),
        ValueError,
        r"metrics: two results would be called 'loss'",
    ),
    (
        lambda w: w.fit(validation_data=(X, Y), metrics=[5]),
        TypeError,
        r"metrics?: got int, expected a name",
    ),
    (
        lambda w: w.fit(validation_data=X),
        (TypeError, ValueError),
        r"validation_data: got .*expected \(X, y\) or \(X, y, sample_weight\)",
    ),
    (
        lambda w: w.fit(validation_data=(X,)),
        (TypeError, ValueError),
        r"validation_data: got .*expected \(X, y\) or \(X, y, sample_weight\)",
    ),
    (lambda w: w.fit(epoch=3), TypeError, r".*unexpected keyword argument 'epoch'"),
    (lambda w: w.mlp.fit(X, Y, lr=3), TypeError, r".*unexpected keyword argument 'lr'"),
)
mistakes(
    "steps in the wrong order",
    (lambda w: w.idle().compute_loss(Y), RuntimeError, r"compute_loss: .*call forward\(x\) first"),
    (
        lambda w: w.idle().backward(),
        RuntimeError,
        r"backward: .*call forward\(x\) and compute_los",
    ),
    (lambda w: w.idle().step(), RuntimeError, r"step: .*call forward\(x\), compute_loss\(t\) and"),
    (lambda w: w.idle().read("a", 0), RuntimeError, r"read: .*call forward\(x\) first"),
    (lambda w: w.idle().read("q", 0), ValueError, r"what: got 'q', expected 'x', 'z', 'a' or 'dz"),
    (lambda w: w.idle().read("a", 2), ValueError, r"layer: got 2, expected a number from 0 to 1"),
    (lambda w: w.idle().read("a", -1), ValueError, r"layer: got -1, expected a number from 0 to"),
)

# ---- senseless pairings

DEFAULT_LOSS = {
    "softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "exp": "poisson",
}
# Losses that go with one output only.
ONLY_OUTPUT = {loss: output for output, loss in DEFAULT_LOSS.items()} | {
    "half_poisson_deviance": "exp"
}
FIXES = {
    (loss, output): DEFAULT_LOSS.get(output, "mse")
    for loss, own in ONLY_OUTPUT.items()
    for output in activations.ACTIVATIONS
    if output != own
}
for (loss, output), other_loss in FIXES.items():
    right = losses.LOSSES[loss].outputs[0]
    said = (
        rf"loss: '{loss}' does not go with output='{output}'; make the network with "
        rf"output='{right}', or use loss='{other_loss}'"
    )
    mistakes(
        "pairings",
        (
            lambda w, loss=loss, output=output: fm.Trainer(
                fm.MLP([3, 2], output=output), loss=loss
            ),
            ValueError,
            said,
        ),
        (
            lambda w, loss=loss, output=output: fm.MLP([3, 2], output=output).evaluate(
                X, Y, loss=losses.LOSSES[loss]()
            ),
            ValueError,
            said,
        ),
    )


def test_every_other_pairing_is_accepted():
    pairs = [(loss, output) for loss in losses.LOSSES for output in activations.ACTIVATIONS]
    for loss, output in pairs:
        if (loss, output) not in FIXES:
            assert fm.Trainer(fm.MLP([3, 2], output=output), loss=loss).loss.name == loss


# ---- unknown names

UNKNOWN = [
    ("activation", lambda w, name: fm.MLP([3, 4, 2], activation=name), "rleu", "relu"),
    ("activation", lambda w, name: fm.MLP([3, 4, 2], activation=[name]), "Tanh", "tanh"),
    ("activation", lambda w, name: fm.MLP([3, 4, 2], activation=name), "sigmiod", "sigmoid"),
    ("activation", lambda w, name: fm.MLP([3, 2], activation=name), "rleu", "relu"),
    ("output", lambda w, name: fm.MLP([3, 2], output=name), "sofmax", "softmax"),
    ("output", lambda w, name: fm.MLP([3, 2], output=name), "lineal", "linear"),
    ("init", lambda w, name: fm.MLP([3, 2], init=name), "he_unifrom", "he_uniform"),
    ("init", lambda w, name: fm.MLP([3, 4, 2], init=["zeros", name]), "xavier", "xavier_normal"),
    ("loss", lambda w, name: fm.Trainer(w.mlp, loss=name), "msee", "mse"),
    ("loss", lambda w, name: fm.Trainer(w.mlp, loss=name), "crossentropy", "cross_entropy"),
    ("loss", lambda w, name: w.mlp.evaluate(X, Y, loss=name), "half_square", "half_squared_error"),
    ("optimizer", lambda w, name: fm.Trainer(w.mlp, optimizer=name), "adm", "adam"),
    ("optimizer", lambda w, name: fm.Trainer(w.mlp, optimizer=name), "SGD", "sgd"),
    ("metrics?", lambda w, name: w.mlp.evaluate(X, Y, metrics=[name]), "acuracy", "accuracy"),
    (
        "metrics?",
        lambda w, name: w.fit(validation_data=(X, Y), metrics=[name]),
        "mean_square_error",
        "mean_squared_error",
    ),
]
for argument, call, name, nearest in UNKNOWN:
    mistakes(
        "unknown names",
        (
            lambda w, call=call, name=name: call(w, name),
            ValueError,
            rf"{argument}: unknown name '{name}'; did you mean '{nearest}'\?.* [Kk]nown are .*",
        ),
    )
mistakes(
    "unknown names",
    (
        lambda w: fm.MLP([3, 4, 2], activation="zzz"),
        ValueError,
        r"activation: unknown name 'zzz';(?!.*did you mean).*[Kk]nown are "
        + ", ".join(sorted([*activations.ACTIVATIONS, "linear", "logistic", "swish"])),
    ),
    (
        lambda w: fm.MLP([3, 2], init="zzz"),
        ValueError,
        r"init: unknown name 'zzz';.*[Kk]nown are " + ", ".join(sorted(initializers.INITIALIZERS)),
    ),
    (
        lambda w: fm.Trainer(w.mlp, loss="zzz"),
        ValueError,
        r"loss: unknown name 'zzz';.*[Kk]nown are " + ", ".join(sorted(losses.LOSSES)),
    ),
    (
        lambda w: fm.Trainer(w.mlp, optimizer="zzz"),
        ValueError,
        r"optimizer: unknown name 'zzz';.*[Kk]nown are " + ", ".join(sorted(optimizers.OPTIMIZERS)),
    ),
    (
        lambda w: w.mlp.evaluate(X, Y, metrics=["zzz"]),
        ValueError,
        r"metrics?: unknown name 'zzz';.*[Kk]nown are " + ".*".join(sorted(metrics.METRICS)),
    ),
    (lambda w: fm.Trianer, AttributeError, r"module 'fastmlp' has no attribute 'Trianer'"),
)


@pytest.mark.parametrize(("call", "error", "pattern"), MISTAKES)
def test_mistakes(call, error, pattern, workshop):
    before = workshop.state()
    with pytest.raises(error, match=rf"(?s)^{pattern}") as caught:
        call(workshop)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500, "one sentence, whatever came"
    assert not message.endswith(".")
    assert workshop.state() == before


def test_after_all_mistakes_training_goes_on_as_if_nothing_had_happened(workshop):
    untouched = Workshop()
    for mistake in MISTAKES:
        with contextlib.suppress(Exception):  # which one it is, is proved above
            mistake.values[0](workshop)
    for each in (workshop, untouched):
        each.fit(epochs=2)
        each.fit_classes(LABELS, epochs=2)
    assert workshop.state() == untouched.state()


@pytest.mark.parametrize("bad", [lambda: spoiled(X, 7, 1, NAN), lambda: X[:, :2]])
def test_predict_leaves_the_network_usable(bad, workshop):
    expected = workshop.mlp.predict(X)
    with pytest.raises(ValueError, match=r"^X: "):
        workshop.mlp.predict(bad())
    np.testing.assert_array_equal(workshop.mlp.predict(X), expected)


def test_the_row_that_is_named_is_the_first(workshop):
    """Also behind the rows that go through the network at once, and with two threads."""
    many = np.ones((5000, 3))
    many[[3210, 4321], 2] = NAN
    for n_threads in (1, 2):
        with pytest.raises(ValueError, match=r"^X: row 3210 holds nan in column 2"):
            workshop.mlp.predict(many, n_threads=n_threads)
        with pytest.raises(ValueError, match=r"^X: row 3210 holds nan in column 2"):
            workshop.mlp.evaluate(many, np.ones((5000, 2)), n_threads=n_threads)
        with pytest.raises(ValueError, match=r"^X: row 3210 holds nan in column 2"):
            workshop.fit(many, np.ones((5000, 2)))


def test_a_network_of_zeros_is_warned_of_once_and_trains():
    mlp = fm.MLP([3, 4, 2], init="zeros")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = mlp.fit(X, Y, epochs=3)
    assert [w.category for w in caught] == [RuntimeWarning]
    assert history.stop_reason == "epochs"


@pytest.mark.parametrize("call", ["fit", "predict", "evaluate", "forward"])
def test_bad_arrays_are_not_modified_either(call, workshop):
    bad = spoiled(X, 7, 1, NAN)
    kept = bad.copy()
    calls = {
        "fit": lambda: workshop.fit(bad),
        "predict": lambda: workshop.mlp.predict(bad),
        "evaluate": lambda: workshop.mlp.evaluate(bad, Y),
        "forward": lambda: workshop.trainer.forward(bad),
    }
    with pytest.raises(ValueError, match=r"(?i)^x: row 7"):
        calls[call]()
    np.testing.assert_array_equal(bad, kept)
