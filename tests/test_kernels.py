"""Every kernel against tests/reference.py, at shapes on both sides of every edge.

Errors are measured in units of eps·√n, relative to the norm, n being the length of the sums on the
way: rounding errors of a sum add up like a random walk. ``eps`` is ``numpy.finfo(dtype).eps``.
"""

import itertools
import math
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp import activations, kernels, losses
from fastmlp.kernels.variants import VARIANTS
from fastmlp.structure import Structure

# Units of eps·√n. The worst seen in any build is 1.5, in float64, where half is the reference's; of
# an optimizer's step, where n is 1, 1.4.
K = 2
# The same where roundings do not walk at random: a softmax passes on derivatives whose sum is zero,
# mae and its kin derivatives of one size, a centred mean of squares is a difference of two. The
# worst seen is 6.1.
K_OF_ALIKE = 9

HIDDEN = [row.name for row in activations.ACTIVATIONS.values() if not row.output_only]
LOSSES_AND_OUTPUTS = [
    (form, output)
    for name, loss in losses.LOSSES.items()
    for form in (name, f"{name}_of_labels")
    if form in kernels.float64.LOSSES
    for output in loss.outputs
]
SETTINGS = {name: [0.9] for name in kernels.float64.OPTIMIZERS} | {
    "sgd": [0.0],
    "adam": [0.9, 0.999, 1e-3],
    "adam_eps_before": [0.9, 0.999, 1e-3],
    "nadam": [0.9, 0.999, 1e-3, 0.004],
    "rmsprop": [0.9, 1e-3, 0.0],
    "rmsprop_momentum": [0.9, 1e-3, 0.8],
    "rmsprop_centered": [0.9, 1e-3, 0.0],
    "rmsprop_centered_momentum": [0.9, 1e-3, 0.8],
    "adagrad": [0.01, 1e-3],
}
# Indices into the penalties of a plan.
L1, L2, OVER_ROWS, PENALTIES = 0, 1, 6, 7
# Elements: the parameters one task of an update takes.
UPDATE_BLOCK = 16384
VARIANT = next(variant for variant in VARIANTS if variant.name == kernels.VARIANT)
# Columns: wider right-hand sides are packed, if there are at least so many rows, in groups.
WIDEST_IN_PLACE, FEWEST_ROWS_TO_PACK, GROUP_COLUMNS = VARIANT.widest_in_place, 32, 128
# Columns of dz from which x is packed for dw, where it ever is, and the tiles that one block of x's
# columns holds.
NARROWEST_TO_PACK, TILES_IN_BLOCK = min(VARIANT.narrowest_to_pack, 384), 16

# Multiplications of vectors, up to which a product goes past the tiles, and the rows of w that are
# read together for a single row of x.
LARGEST_STRAIGHT, ROWS_AT_ONCE = 512, 8
# Sums of a single row that are made side by side, in vectors.
SUMS_IN_FLIGHT = 8


def edge(size):
    return [size - 1, size, size + 1]


def widths(build):
    """Widths on both sides of everything that a row is cut into."""
    mr, nr, vw = build.TILE
    found = {1, *edge(mr), *edge(vw), *edge(nr), 2 * nr + 3}
    return sorted(found - {0})


def k_block(build):
    return 4096 // np.dtype(build.DTYPE).itemsize + 8


def units(got, wanted, n, dtype):
    """How far ``got`` is from ``wanted``, in eps·√n of the norm."""
    assert np.shape(got) == np.shape(wanted)
    error = norm(np.asarray(got, np.float64) - wanted)
    return error and error / (np.finfo(dtype).eps * math.sqrt(n) * norm(wanted))


def norm(array):
    """Without the matrix product in NumPy's own, whose threads cost more than they are worth."""
    return math.sqrt(np.square(array).sum())


class Guarded:
    """An array between two margins that nobody may write to."""

    MARGIN, MARK = 64, 123.0

    def __init__(self, shape, dtype, fill=np.nan):
        n = math.prod(shape)
        self.memory = np.full(n + 2 * self.MARGIN, self.MARK, dtype)
        self.array = self.memory[self.MARGIN : self.MARGIN + n].reshape(shape)
        self.array[...] = fill

    @property
    def is_intact(self):
        n = self.MARGIN
        return bool((self.memory[:n] == self.MARK).all() and (self.memory[-n:] == self.MARK).all())


class Net:
    """A plan, everything it points at, and the reference's layers."""

    def __init__(self, dtype, sizes, names, params, *, loss="mse", optimizer="sgd", **options):
        self.dtype, self.build = np.dtype(dtype), kernels.of(np.dtype(dtype))
        self.sizes, self.names, self.loss = sizes, names, loss
        self.tables = tables(sizes, names, dtype)
        n = len(params)
        self.guards = {
            "params": Guarded((n,), dtype, params),
            "grads": Guarded((n,), dtype),
            "state": Guarded((3, n), dtype, 0),
        }
        self.params, self.grads, self.state = (g.array for g in self.guards.values())
        plain = {"mean": True, "l1": 0.0, "l2": 0.0, "over_rows": False, "shares": None}
        self.options = options = plain | options
        penalties = np.zeros(PENALTIES)
        penalties[[L1, L2, OVER_ROWS]] = options["l1"], options["l2"], options["over_rows"]
        shares = options["shares"]
        self.shares = None if shares is None else read_only(np.array(shares))
        self.constants = constants_of(loss, sizes[-1], self.dtype)
        self.plan = self.build.Plan(
            *self.tables,
            self.params,
            grads=self.grads,
            loss=self.build.LOSSES[loss],
            loss_constants=self.constants,
            loss_shares=self.shares,
            mean=self.options["mean"],
            penalties=read_only(penalties),
            optimizer=self.build.OPTIMIZERS[optimizer],
            settings=read_only(np.array(SETTINGS[optimizer])),
            state=self.state,
            memory=np.zeros(2),
        )

    def output(self, rows):
        """Where ``rows`` rows of outputs go."""
        self.guards["out"] = Guarded((rows, self.sizes[-1]), self.dtype)
        return self.guards["out"].array

    def layers(self):
        return reference.unpack(self.params, self.sizes, self.names)

    def assert_intact(self):
        for name, guard in self.guards.items():
            assert guard.is_intact, f"written beside {name}"

    def tensors(self, flat):
        """Each layer's w and b in a flat vector."""
        at = 0
        for n_in, n_out in itertools.pairwise(self.sizes):
            for length in (n_in * n_out, n_out):
                yield flat[at : at + length]
                at += length


def tables(sizes, names, dtype):
    """What a plan of plain layers is made from."""
    found = Structure.checked(sizes, names[:-1], names[-1], None, 0.0, 0.0, dtype).tables
    return tuple(read_only(table) for table in found)


def at_step(step):
    """Where training stands before the ``step``-th update."""
    return np.array([0, 0, step - 1, 0], np.int64)


def constants_of(loss, n_out, dtype):
    """The constants of a loss of the kernels, with the library's defaults."""
    constants = losses.LOSSES[loss.removesuffix("_of_labels")]().constants(n_out)
    return None if constants is None else read_only(constants.astype(dtype))


def read_only(array):
    array.flags.writeable = False
    return array


def problem(dtype, sizes, names, rows, *, seed=0, flips=0.0):
    """Parameters, inputs and targets, of both signs, in whose sums no terms cancel.

    A sum that cancels has no relative accuracy in any arithmetic. So input i has the sign s[i] in
    every row, weights the sign s[i]·u[j], and targets lie beyond the outputs, with the other sign:
    then the terms of every sum, forward and backward, are alike, if the activation is odd.
    ``flips`` turns that share of the inputs round. No score lies close to relu's kink.
    """
    for attempt in itertools.count():
        rng = np.random.default_rng([seed, attempt])
        signs = [rng.choice([-1.0, 1.0], n) for n in sizes]
        params = []
        for below, above in itertools.pairwise(signs):
            w = rng.uniform(0.5, 1.5, (len(below), len(above))) / (4 * len(below))
            b = rng.uniform(0.5, 1.5, len(above)) / 8
            params += [(below[:, None] * w * above).ravel(), above * b]
        params = np.concatenate(params).astype(dtype)
        x = (signs[0] * rng.uniform(0.5, 1.5, (rows, sizes[0]))).astype(dtype)
        x[rng.random(x.shape) < flips] *= -1
        t = (-signs[-1] * rng.uniform(4, 6, (rows, sizes[-1]))).astype(dtype)
        z, _ = reference.forward(reference.unpack(params, sizes, names), x)
        kinked = [scores for scores, name in zip(z, names, strict=True) if name == "relu"]
        least = np.finfo(dtype).eps * math.sqrt(max(sizes))
        if all((np.abs(s) > least).all() for s in kinked):
            return params, read_only(x), read_only(t)


def targets_for(loss, output, t, rng):
    """Targets of the kind the loss compares with, and far from the outputs."""
    if loss == "cross_entropy_of_labels":
        return read_only(rng.integers(0, t.shape[1], (len(t), 1)))
    if loss == "cross_entropy":
        return read_only(rng.dirichlet(np.ones(t.shape[1]), len(t)).astype(t.dtype))
    if loss == "binary_cross_entropy":
        return read_only(rng.uniform(0, 0.3, t.shape).astype(t.dtype))
    if loss == "poisson":
        return read_only(rng.uniform(20, 30, t.shape).astype(t.dtype))
    if loss == "half_poisson_deviance":
        counts = rng.uniform(20, 30, t.shape) * (rng.random(t.shape) < 0.8)
        return read_only(counts.astype(t.dtype))
    if output == "softmax":
        return read_only(rng.normal(0, 5, t.shape).astype(t.dtype))
    return t


def check_pass(net, x, t, row_weights=None, n_threads=1, k=K):
    """Forward, loss and backward against the reference, and what they may and may not write."""
    source = net.build.Source
    rows, sizes = len(x), net.sizes
    before = net.params.copy()
    weights = None if row_weights is None else source(row_weights[:, None])
    layers = net.layers()
    options = {"row_weights": row_weights, **net.options}

    out = net.output(rows)
    assert net.plan.forward(source(x), out, n_threads=n_threads) == -1
    value, bad = net.plan.compute_loss(source(t), weights)
    assert bad == -1
    net.grads[:] = np.nan
    net.plan.backward(n_threads)
    net.assert_intact()
    np.testing.assert_array_equal(net.params, before)

    z, a = reference.forward(layers, x)
    n_forward = sum(sizes[:-1])
    assert units(out, a[-1], n_forward, net.dtype) <= K
    wanted = reference.objective(layers, x, t, net.loss, **options)
    assert isinstance(value, float)
    assert units(value, wanted, n_forward + sizes[-1] + rows, net.dtype) <= K
    gradient, dz = reference.backward(layers, x, t, net.loss, **options)
    n_backward = n_forward + sum(sizes[2:]) + rows
    for got, right in zip(net.tensors(net.grads), net.tensors(gradient), strict=True):
        assert units(got, right, n_backward, net.dtype) <= k
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        for what, right in (("x", a[i]), ("z", z[i]), ("a", a[i + 1]), ("dz", dz[i])):
            kept = np.full((rows, n_in if what == "x" else n_out), np.nan, net.dtype)
            net.plan.read(what, i, kept)
            assert units(kept, right, n_backward, net.dtype) <= k, f"{what} of layer {i}"


def check_scores(net, x, t, row_weights=None, n_threads=1):
    """The same outputs and the same loss from ``predict`` and ``evaluate``."""
    source = net.build.Source
    _, a = reference.forward(net.layers(), x)
    n = sum(net.sizes[:-1])
    out = net.output(len(x))
    assert net.plan.predict(source(x), out, n_threads) == -1
    net.assert_intact()
    assert units(out, a[-1], n, net.dtype) <= K
    predicted, out[:] = out.copy(), np.nan
    weights = None if row_weights is None else source(row_weights[:, None])
    code = net.build.LOSSES[net.loss]
    for mean in (True, False):
        value, bad = net.plan.evaluate(
            source(x), source(t), weights, out, code, net.constants, net.shares, False, mean,
            n_threads,
        )  # fmt: skip
        assert bad == -1
        np.testing.assert_array_equal(out, predicted)
        wanted = reference.objective(
            net.layers(), x, t, net.loss, row_weights=row_weights, mean=mean, shares=net.shares
        )
        assert units(value, wanted, n + net.sizes[-1] + len(x), net.dtype) <= K
    net.assert_intact()


# ---- products: shapes


@pytest.mark.parametrize(
    "name",
    [
        "FEWEST_ROWS_TO_PACK",
        "LARGEST_STRAIGHT",
        "ROWS_AT_ONCE",
        "SUMS_IN_FLIGHT",
    ],
)
def test_the_limits_are_those_of_the_source(name):
    """Or the shapes below would miss the edges that they are meant for."""
    source = Path(__file__).parents[1] / "fastmlp" / "kernels" / "dense.pxi"
    (value,) = re.findall(rf"^    {name} = (\d+)\b", source.read_text(), re.MULTILINE)
    assert globals()[name] == int(value)


EDGES_OF_ROWS = {
    "one": lambda tile, chunk: 1,
    "tile-1": lambda tile, chunk: tile - 1,
    "tile": lambda tile, chunk: tile,
    "tile+1": lambda tile, chunk: tile + 1,
    "2tile+1": lambda tile, chunk: 2 * tile + 1,
    "chunk-1": lambda tile, chunk: chunk - 1,
    "chunk": lambda tile, chunk: chunk,
    "chunk+1": lambda tile, chunk: chunk + 1,
    "2chunk+5": lambda tile, chunk: 2 * chunk + 5,
}


def chunk_rows(dtype, sizes):
    """Rows of a chunk of a network of these sizes, from the plan itself."""
    n_params = sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))
    names = ["identity"] * (len(sizes) - 1)
    return Net(dtype, sizes, names, np.zeros(n_params)).plan.chunk_rows


def check_shape(dtype, sizes, rows, *, n_threads=1):
    """A tanh network of these sizes; ``rows`` is a number or one of ``EDGES_OF_ROWS``."""
    names = [*["tanh"] * (len(sizes) - 2), "identity"]
    if rows in EDGES_OF_ROWS:
        rows = EDGES_OF_ROWS[rows](kernels.of(dtype).TILE[0], chunk_rows(dtype, sizes))
    params, x, t = problem(dtype, sizes, names, rows)
    net = Net(dtype, sizes, names, params)
    check_pass(net, x, t, n_threads=n_threads)
    check_scores(net, x, t, n_threads=n_threads)


@pytest.mark.parametrize("rows", EDGES_OF_ROWS)
def test_products_at_the_edges_of_tiles(dtype, rows):
    """Every pair of widths, as (n_in, n_out) and as (n_out, n_in) of the layer above."""
    around = widths(kernels.of(dtype))
    for wide, narrow in itertools.product(around, around):
        check_shape(dtype, [wide, narrow, wide], rows)


@pytest.mark.parametrize("rows", ["tile+1", "chunk+1"])
def test_products_at_the_edges_of_k_blocks(dtype, rows):
    """Long sums forward (over n_in) and backward (over n_out)."""
    build = kernels.of(dtype)
    _, nr, vw = build.TILE
    block = k_block(build)
    for k in (*edge(block), *edge(2 * block)):
        check_shape(dtype, [k, nr + 1, 2], rows)
        check_shape(dtype, [2, vw + 1, k], rows)


@pytest.mark.parametrize("n_in", [1, 2, *edge(ROWS_AT_ONCE), 2 * ROWS_AT_ONCE])
def test_tiny_products_go_past_the_tiles(dtype, n_in):
    """On both sides of the limit forward (rows by n_in + 1), backward and for dw."""
    _, _, vw = kernels.of(dtype).TILE
    for n_out in sorted({1, 2, *edge(vw)}):
        limits = {LARGEST_STRAIGHT // (n_in + 1), LARGEST_STRAIGHT // n_out}
        for rows in sorted({2, *(row for limit in limits for row in edge(limit))}):
            check_shape(dtype, [n_in, n_out], rows)
            check_shape(dtype, [2, n_in, n_out, 1], rows)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_gradient_of_a_single_output(dtype, n_threads):
    """It is made as a row, some panels at a time; a second chunk is added to the first."""
    _, nr, vw = kernels.of(dtype).TILE
    panels = -(-SUMS_IN_FLIGHT // (nr // vw)) * nr
    for n_in, rows in itertools.product(
        [*edge(panels - 1), *edge(2 * panels + nr - 1)], [1, "chunk", "chunk+1"]
    ):
        check_shape(dtype, [n_in, 1], rows, n_threads=n_threads)
        check_shape(dtype, [2, n_in, 1], rows, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_single_row_reads_w_along_its_rows(dtype, n_threads):
    vw = kernels.of(dtype).TILE[2]
    for n_in, width in itertools.product(edge(3 * ROWS_AT_ONCE), [vw, 3 * vw, 40 * vw]):
        check_shape(dtype, [n_in, width, width, 3], 1, n_threads=n_threads)
    check_shape(dtype, [600, 512], 1, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_wide_layers_in_place_and_in_panels(dtype, n_threads):
    _, nr, vw = kernels.of(dtype).TILE
    groups = -(-GROUP_COLUMNS // nr) * nr
    for width, rows in itertools.product(
        [WIDEST_IN_PLACE, WIDEST_IN_PLACE + 1, *edge(3 * groups), 2 * groups + nr + vw + 1],
        [1, *edge(FEWEST_ROWS_TO_PACK), "chunk", "chunk+1"],
    ):
        check_shape(dtype, [3, width, 5], rows, n_threads=n_threads)
        check_shape(dtype, [vw + 1, width], rows, n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_dx_the_other_way_round(dtype, n_threads):
    """From some rows on, if they are at most half as many as either side of w."""
    tile, nr, vw = kernels.of(dtype).TILE
    block = TILES_IN_BLOCK * tile
    for rows in (*edge(FEWEST_ROWS_TO_PACK), nr + 1, 90):
        for half in (2 * rows - 1, 2 * rows, 2 * rows + 1):
            check_shape(dtype, [2, half, 2 * rows + vw], rows, n_threads=n_threads)
            check_shape(dtype, [2, 2 * rows + vw, half], rows, n_threads=n_threads)
    for n_in in (*edge(block), 2 * block + 1):
        check_shape(dtype, [2, n_in, 2 * k_block(kernels.of(dtype)) + 1], 40, n_threads=n_threads)
    check_shape(dtype, [2, 300, 280], "chunk", n_threads=n_threads)
    check_shape(dtype, [2, 300, 280], "chunk+1", n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_inputs_in_panels_for_wide_gradients(dtype, n_threads):
    """dw sums over rows: x is read down its columns, in place or from panels of tile rows."""
    block = TILES_IN_BLOCK * kernels.of(dtype).TILE[0]
    for n_in, n_out in itertools.product([1, *edge(block), 2 * block + 1], edge(NARROWEST_TO_PACK)):
        check_shape(dtype, [n_in, n_out], "chunk-1", n_threads=n_threads)
        check_shape(dtype, [n_in, n_out], "chunk+1", n_threads=n_threads)


@pytest.mark.parametrize("sizes", [[70, 90, 80], [301, 260, 10], [1000, 1, 1000]])
@pytest.mark.parametrize("rows", ["chunk-1", "2chunk+5"])
def test_products_shared_by_threads(dtype, sizes, rows):
    """Large enough for every product, and for the transposition, to be cut into tasks."""
    check_shape(dtype, sizes, rows, n_threads=2)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_products_of_any_shape(data):
    """Shapes nobody thought of."""
    dtype = np.dtype(data.draw(st.sampled_from(["float32", "float64"])))
    width = st.integers(1, 2 * kernels.of(dtype).TILE[1] + 5)
    sizes = data.draw(st.lists(width, min_size=2, max_size=5))
    rows = data.draw(st.integers(1, 300))
    n_threads = data.draw(st.integers(1, 3))
    check_shape(dtype, sizes, rows, n_threads=n_threads)


# ---- activations and losses


@pytest.mark.parametrize(("loss", "output"), LOSSES_AND_OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_activations_and_losses(dtype, loss, output, hidden, rng):
    """All that an objective can be made of: weights of rows, both reductions, penalties, shares."""
    _, nr, vw = kernels.of(dtype).TILE
    sizes, names = [vw + 1, nr + 3, nr - 1, 5], [hidden, hidden, output]
    rows = 2 * chunk_rows(dtype, sizes) + 5
    params, x, t = problem(dtype, sizes, names, rows, flips=0.3)
    t = targets_for(loss, output, t, rng)
    weights = rng.uniform(0, 3, len(x)).astype(dtype)
    weights[::7] = 0
    beside = [
        {},
        {"l1": 0.25, "l2": 0.125},
        {"l1": 0.25 * rows, "l2": 0.125 * rows, "over_rows": True, "shares": (0.25, 3.0)},
    ]
    for mean, own, row_weights in itertools.product([True, False], beside, [None, weights]):
        net = Net(dtype, sizes, names, params, loss=loss, mean=mean, **own)
        alike = loss in {"mae", "huber", "quantile"} or (
            output == "softmax" and not loss.startswith("cross_entropy")
        )
        check_pass(net, x, t, row_weights, k=K_OF_ALIKE if alike else K)
        check_scores(net, x, t, row_weights)


def test_an_activation_for_each_layer(dtype):
    sizes, names = [7, 9, 5, 11, 3], ["relu", "identity", "sigmoid", "tanh"]
    params, x, t = problem(dtype, sizes, names, 300, flips=0.3)
    check_pass(Net(dtype, sizes, names, params), x, t)


def test_weights_of_rows_are_repetitions(dtype, rng):
    """A row of weight 2 counts as two rows, one of weight 0 as none."""
    sizes, names = [3, 4, 2], ["tanh", "identity"]
    params, x, t = problem(dtype, sizes, names, 5)
    times = np.array([2, 0, 1, 3, 1])
    net = Net(dtype, sizes, names, params)
    check_pass(net, x, t, times.astype(dtype))
    gradient = net.grads.copy()
    check_pass(net, x.repeat(times, axis=0), t.repeat(times, axis=0))
    assert units(net.grads, gradient, 10, dtype) <= K


@pytest.mark.parametrize("beside", [{}, {"l1": 0.25, "l2": 0.125, "over_rows": True}])
def test_rows_without_weight_have_no_loss(dtype, beside):
    """The mean over no weight at all is 0, not 0 / 0: such a minibatch may turn up in any epoch."""
    params, x, t = problem(dtype, [3, 2], ["identity"], 4)
    net = Net(dtype, [3, 2], ["identity"], params, **beside)
    net.plan.forward(net.build.Source(x), net.output(4))
    value, _ = net.plan.compute_loss(net.build.Source(t), net.build.Source(np.zeros((4, 1))))
    net.plan.backward()
    assert value == 0
    assert not net.grads.any()


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_entropies_are_finite_for_any_score(dtype, scale):
    """Scores far beyond the range of exp, passed through an identity matrix."""
    scores = scale * np.array([[1, -1, 0], [-1, -1, 1], [0, 0, 0], [1, 1, 1]], dtype)
    labels = np.array([[1], [2], [0], [0]])
    t = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0.5, 0.25, 0.25]], dtype)
    params = np.concatenate([np.eye(3).ravel(), np.zeros(3)]).astype(dtype)
    for loss, target in (
        ("cross_entropy", t),
        ("cross_entropy_of_labels", labels),
        ("binary_cross_entropy", t),
    ):
        output = "sigmoid" if loss == "binary_cross_entropy" else "softmax"
        net = Net(dtype, [3, 3], [output], params, loss=loss)
        check_pass(net, scores, target)
        check_scores(net, scores, target)
        assert np.isfinite(net.grads).all()


# ---- steps


def update_by(net, optimizer, lr, step, n_threads):
    """A step of the net's, from the gradient that stands in ``grads``; and what it should give."""
    p, g = net.params.astype(np.float64), net.grads.astype(np.float64)
    own = SETTINGS[optimizer] if optimizer != "sgd" else []
    wanted = reference.OPTIMIZERS[optimizer](p, g, net.state.astype(np.float64), lr, step, *own)
    grads = net.grads.copy()
    net.plan.step(lr, at_step(step), np.zeros(2), n_threads=n_threads)
    np.testing.assert_array_equal(net.grads, grads)
    net.assert_intact()
    return wanted


@pytest.mark.parametrize("optimizer", sorted(kernels.float64.OPTIMIZERS))
@pytest.mark.parametrize("n_threads", [1, 2])
def test_one_step(dtype, optimizer, n_threads, rng):
    """Numbers of like size everywhere, so that no part of the formula hides behind another."""
    k = K_OF_ALIKE if "centered" in optimizer else K
    for n, step in itertools.product([2, *edge(UPDATE_BLOCK), 2 * UPDATE_BLOCK + 5], [1, 2, 1000]):
        net = Net(dtype, [n - 1, 1], ["identity"], rng.normal(0, 1, n), optimizer=optimizer)
        net.grads[:] = rng.normal(0, 1, n)
        net.state[:] = rng.uniform(0.1, 1, (3, n))
        # A mean of squares is above the square of the mean.
        net.state[0] += 1
        before = net.state.copy()
        params, state = update_by(net, optimizer, 0.5, step, n_threads)
        assert units(net.params, params, 1, dtype) <= k
        for i in range(3):
            if i < len(state):
                assert units(net.state[i], state[i], 1, dtype) <= k
            else:
                np.testing.assert_array_equal(net.state[i], before[i])


def run(net, x, t, weights, batch_size, lr, n_threads=1):
    """Three epochs of minibatches in order, all in compiled code; the loss of each."""
    position, running = np.zeros(4, np.int64), np.array([0, np.inf])
    source, snapshot = net.build.Source, Guarded(net.params.shape, net.dtype)
    net.plan.begin(
        source(x), source(t), None if weights is None else source(weights[:, None]), order=None,
        position=position, running=running, snapshot=snapshot.array, buffers_snapshot=None, seed=0,
        shuffle=False, batch_size=batch_size, lr=lr, target_loss=-math.inf, tol=0, patience=0,
        n_threads=n_threads,
    )  # fmt: skip
    found = np.full(3, np.nan)
    # A slice of no length: it ends within a minibatch of many chunks, too.
    while (status := net.plan.run(found, 0, 3, False, 0)) == net.build.STATUS["slice"]:
        pass
    assert status == net.build.STATUS["epochs"]
    net.assert_intact()
    assert snapshot.is_intact
    np.testing.assert_array_equal(snapshot.array, net.params)
    assert position[:3].tolist() == [3, 0, 3 * -(-len(x) // batch_size)]
    return found


def run_by_reference(net, params, x, t, weights, batch_size, lr, optimizer="sgd"):
    """The same from ``params`` on: the parameters after it, and the loss of each epoch."""
    p, state, step, found = params.astype(np.float64), np.zeros((3, len(params))), 0, []
    for _ in range(3):
        total = 0
        for start in range(0, len(x), batch_size):
            cut = slice(start, start + batch_size)
            layers = reference.unpack(p, net.sizes, net.names)
            options = {"row_weights": None if weights is None else weights[cut], **net.options}
            value = reference.objective(layers, x[cut], t[cut], net.loss, **options)
            total += len(x[cut]) * value
            g, _ = reference.backward(layers, x[cut], t[cut], net.loss, **options)
            step += 1
            own = SETTINGS[optimizer] if optimizer != "sgd" else []
            p, state = reference.OPTIMIZERS[optimizer](p, g, state, lr, step, *own)
        found.append(total / len(x))
    return p, found


@pytest.mark.parametrize("optimizer", sorted(kernels.float64.OPTIMIZERS))
def test_run_is_the_reference_s_loop(dtype, optimizer):
    """The last minibatch of each epoch is smaller."""
    sizes, names, rows = [5, 7, 2], ["tanh", "identity"], 23
    params, x, t = problem(dtype, sizes, names, rows)
    weights = np.random.default_rng(1).uniform(0.5, 2, rows).astype(dtype)
    net = Net(dtype, sizes, names, params, optimizer=optimizer, l2=0.01)
    found = run(net, x, t, weights, 6, 0.01)
    p, wanted = run_by_reference(net, params, x, t, weights, 6, 0.01, optimizer)
    for loss, right in zip(found, wanted, strict=True):
        assert units(loss, right, 12, dtype) <= K
    assert units(net.params, p, rows, dtype) <= K


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mean", [True, False])
def test_run_takes_penalties_over_rows_and_shares(dtype, mean, weighted, n_threads):
    """So do the steps one by one; a minibatch is of few rows, of several chunks, or of all."""
    sizes, names = [5, 7, 2], ["tanh", "identity"]
    chunk = chunk_rows(dtype, sizes)
    rows = 3 * chunk + 5
    params, x, t = problem(dtype, sizes, names, rows)
    weights = np.random.default_rng(1).uniform(0.5, 3, rows).astype(dtype) if weighted else None
    for batch_size in (chunk // 3, 2 * chunk + 1, rows):
        penalties = {"l1": 0.1 * batch_size, "l2": 0.2 * batch_size, "over_rows": True}
        net = Net(dtype, sizes, names, params, mean=mean, shares=(0.25, 3.0), **penalties)
        check_pass(net, x, t, weights, n_threads)
        check_scores(net, x, t, weights, n_threads)
        lr = 0.02 / (1 if mean else batch_size)
        found = run(net, x, t, weights, batch_size, lr, n_threads)
        p, wanted = run_by_reference(net, params, x, t, weights, batch_size, lr)
        n = sum(sizes) + batch_size
        for loss, right in zip(found, wanted, strict=True):
            assert units(loss, right, n, dtype) <= K
        assert units(net.params, p, n, dtype) <= K


# ---- output arguments, and what is found bad


def test_outputs_are_the_arrays_given(dtype):
    params, x, t = problem(dtype, [3, 4, 2], ["tanh", "identity"], 5)
    net = Net(dtype, [3, 4, 2], ["tanh", "identity"], params)
    held = net.params, net.grads, net.state
    outputs = [net.output(5).copy() for _ in range(3)]
    source = net.build.Source
    net.plan.forward(source(x), outputs[0])
    net.plan.predict(source(x), outputs[1])
    code = net.build.LOSSES["mse"]
    net.plan.evaluate(source(x), source(t), None, outputs[2], code, None, None, False, True)
    for out in outputs:
        np.testing.assert_array_equal(out, outputs[0])
        assert np.isfinite(out).all()
    net.plan.compute_loss(source(t), None)
    net.plan.backward()
    net.plan.step(0.1, at_step(1), np.zeros(2))
    assert (net.params != params).all()
    for array, guard in zip(held, net.guards.values(), strict=False):
        assert np.shares_memory(array, guard.memory)


def test_a_plan_that_only_predicts_needs_no_more(dtype):
    params, x, _ = problem(dtype, [3, 4, 2], ["tanh", "identity"], 300)
    net = Net(dtype, [3, 4, 2], ["tanh", "identity"], params)
    build = net.build
    plan = build.Plan(*net.tables, net.params)
    assert net.plan.trains
    assert not plan.trains
    assert plan.n_params == len(params)
    out, wanted = net.output(300), np.empty((300, 2), dtype)
    net.plan.predict(build.Source(x), wanted)
    plan.predict(build.Source(x), out)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_that_are_not_finite_are_named(dtype, bad, n_threads):
    """The first of two, in the second chunk and in the third, in inputs and in targets."""
    params, x, t = problem(dtype, [3, 2], ["identity"], 700)
    net = Net(dtype, [3, 2], ["identity"], params)
    source, out = net.build.Source, net.output(700)
    assert net.plan.chunk_rows < 400 < 2 * net.plan.chunk_rows < 600
    broken_x, broken_t = x.copy(), t.copy()
    broken_x[[400, 600], 2] = bad
    broken_t[[400, 600], 1] = bad
    code = net.build.LOSSES["mse"]
    assert net.plan.predict(source(broken_x), out, n_threads) == 400
    _, row = net.plan.evaluate(
        source(broken_x), source(t), None, out, code, None, None, False, True, n_threads
    )
    assert row == 400
    assert net.plan.forward(source(broken_x), out, n_threads=n_threads) == 400
    assert net.plan.forward(source(x), out, n_threads=n_threads) == -1
    value, row = net.plan.compute_loss(source(broken_t), None)
    assert (math.isnan(value), row) == (True, 400)
    for inputs, target, status in (
        (broken_x, t, "bad_input"),
        (x, broken_t, "bad_target"),
    ):
        net.plan.begin(
            source(inputs), source(target), None, order=None, position=np.zeros(4, np.int64),
            running=np.array([0, np.inf]), snapshot=np.empty_like(params),
            buffers_snapshot=None, seed=0, shuffle=False,
            batch_size=700, lr=0.1, target_loss=-math.inf, tol=0, patience=0, n_threads=n_threads,
        )  # fmt: skip
        assert net.plan.run(np.empty(1), 0, 1, False, 60) == net.build.STATUS[status]
        assert net.plan.bad_row == 400
        np.testing.assert_array_equal(net.params, params)


# ---- the user's arrays

STORED = [*"?bBhHiIlLqQfd"]


def numbers_of(kind, shape, rng):
    """Numbers all over the type's range, the ends of it included."""
    kind = np.dtype(kind)
    if kind.kind == "f":
        return rng.normal(0, 1e3, shape).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    info = np.iinfo(kind)
    found = rng.integers(info.min, info.max, shape, kind, endpoint=True)
    found.flat[:2] = info.min, info.max
    return found


def layouts(array):
    """The same type in every kind of strides, and the name of each."""
    wide = np.repeat(np.repeat(array, 3, axis=0), 2, axis=1)
    fields = np.zeros(array.shape, np.dtype([("a", array.dtype), ("b", array.dtype)]))
    fields["b"] = array
    return {
        "C": array,
        "Fortran": np.asfortranarray(array),
        "columns": array[:, 1:-1],
        "every other": wide[::3, ::2],
        "rows backwards": array[::-1],
        "columns backwards": array[:, ::-1],
        "both backwards": array[::-2, ::-3],
        "one row for all": np.broadcast_to(array[1], array.shape),
        "one column for all": np.broadcast_to(array[:, 1:2], array.shape),
        "transposed": array.T,
        "field": fields["b"],
    }


@pytest.mark.parametrize("kind", STORED)
def test_every_type_and_layout_is_read(dtype, kind, rng):
    build = kernels.of(dtype)
    for name, array in layouts(numbers_of(kind, (20, 17), rng)).items():
        untouched = array.copy()
        array.flags.writeable = False
        source = build.Source(array)
        assert (source.n_rows, source.n_cols) == array.shape
        assert source.first_bad_row() == -1
        order = read_only(rng.integers(0, len(array), 2 * len(array)))
        out = Guarded((len(order), array.shape[1]), dtype)
        assert build.gather(source, order, out.array) == -1
        np.testing.assert_array_equal(out.array, untouched.astype(dtype)[order], err_msg=name)
        assert out.is_intact
        np.testing.assert_array_equal(array, untouched, err_msg=name)


@pytest.mark.parametrize("kind", STORED)
def test_every_type_trains_alike(dtype, kind):
    """The same numbers in another type give the same bits, as inputs, targets and weights."""
    values = np.random.default_rng(3).integers(0, 2, (40, 6))
    found = []
    for stored in (values.astype(kind), values.astype(dtype)):
        params, _, _ = problem(dtype, [4, 3, 1], ["tanh", "identity"], 1)
        net = Net(dtype, [4, 3, 1], ["tanh", "identity"], params)
        source = net.build.Source
        x, t, weights = source(stored[:, :4]), source(stored[:, 4:5]), source(stored[:, 5:])
        net.plan.forward(x, net.output(40))
        value, _ = net.plan.compute_loss(t, weights)
        net.plan.backward()
        found.append([value, *net.grads.tolist()])
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_first_bad_row(dtype, kind, bad):
    build = kernels.of(dtype)
    for column in range(9):
        array = np.ones((6, 9), kind)
        array[[2, 4], column] = bad
        for laid_out in (array, np.asfortranarray(array)):
            source = build.Source(laid_out)
            assert source.first_bad_row() == 2
            out = np.empty((3, 9), dtype)
            # The number is the row's in the array, not its place in the order.
            assert build.gather(source, np.array([0, 4, 2]), out) == 4


def test_numbers_too_large_for_float32_are_bad_rows():
    largest = float(np.finfo(np.float32).max)
    # Half a unit in the last place further on, rounding goes to infinity.
    beyond = largest + 0.5 * 2.0**104
    for good in (largest, np.nextafter(beyond, 0)):
        for sign in (1, -1):
            array = np.full((1, 1), sign * good)
            assert kernels.float32.Source(array).first_bad_row() == -1
            out = np.empty((1, 1), np.float32)
            assert kernels.float32.gather(kernels.float32.Source(array), np.array([0]), out) == -1
            assert out == sign * largest
    for bad in (beyond, 1e39, 1e308, -beyond, -1e39):
        array = np.array([[0.0], [1.0], [bad]])
        assert kernels.float32.Source(array).first_bad_row() == 2
        assert kernels.float64.Source(array).first_bad_row() == -1


def test_a_source_holds_its_array(dtype):
    array = np.arange(12, dtype=dtype).reshape(4, 3)
    alive = weakref.ref(array)
    source = kernels.of(dtype).Source(array)
    del array
    out = np.empty((1, 3), dtype)
    kernels.of(dtype).gather(source, np.array([3]), out)
    np.testing.assert_array_equal(out, [[9, 10, 11]])
    assert alive() is not None
    del source
    assert alive() is None


@pytest.mark.parametrize("kind", ["g", "F", "D", "S3", "U3", "O", ">f4", ">i8"])
def test_other_types_are_refused(dtype, kind):
    with pytest.raises(TypeError, match="cannot read elements of format"):
        kernels.of(dtype).Source(np.zeros((2, 2), kind))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2)])
def test_other_dimensions_are_refused(dtype, shape):
    with pytest.raises(ValueError, match=f"{len(shape)} dimensions"):
        kernels.of(dtype).Source(np.zeros(shape))
