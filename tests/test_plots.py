"""Pictures: what is drawn is the data, on the axes that were given, and no screen is needed."""

import io
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import fastmlp as fm
from fastmlp import plots

NAN, INF = np.nan, np.inf

HISTORY = {
    "loss": [3.0, 2.0, 1.0],
    "val_loss": [4.0, 3.0, 2.5],
    "val_accuracy": [0.5, 0.75, 1.0],
}

XOR, XOR_CLASSES = fm.datasets.xor()


def new_axes():
    return Figure().add_subplot()


def rendered(ax):
    """Draw it to the last stroke, where matplotlib finds what it cannot draw."""
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return ax


def labels_of(ax):
    return ax.get_legend_handles_labels()[1]


def scale_of(ax):
    """The label of the colour bar beside a picture."""
    (bar,) = ax.child_axes
    return bar.get_ylabel()


def image_of(ax):
    (image,) = ax.images
    return np.ma.filled(image.get_array(), NAN)


# ---- loss curves


def test_loss_curves_have_a_panel_for_each_quantity():
    panels = plots.loss_curves(HISTORY)
    assert panels.shape == (2,)
    loss, accuracy = map(rendered, panels)
    assert loss.figure is accuracy.figure
    assert len(loss.figure.axes) == 2
    assert [line.get_ydata().tolist() for line in loss.lines] == [
        HISTORY["loss"],
        HISTORY["val_loss"],
    ]
    assert [line.get_ydata().tolist() for line in accuracy.lines] == [HISTORY["val_accuracy"]]
    for line in (*loss.lines, *accuracy.lines):
        assert line.get_xdata().tolist() == [1, 2, 3]
    assert labels_of(loss) == ["training", "validation"]
    assert labels_of(accuracy) == ["validation"]
    assert [ax.get_ylabel() for ax in panels] == ["loss", "accuracy"]
    assert [ax.get_xlabel() for ax in panels] == ["epoch", "epoch"]
    assert [ax.get_title() for ax in panels] == ["Loss over 3 epochs", "Accuracy over 3 epochs"]
    assert loss.get_legend() is not None
    # Validation has one colour in all panels, and it is not that of training.
    training, validation = (line.get_color() for line in loss.lines)
    assert accuracy.lines[0].get_color() == validation != training


def test_loss_curves_of_a_history():
    mlp = fm.MLP([2, 4, 1], output="sigmoid", seed=0)
    history = mlp.fit(XOR, XOR_CLASSES, epochs=5, validation_data=(XOR, XOR_CLASSES))
    (ax,) = plots.loss_curves(history)
    training, validation = ax.lines
    assert training.get_ydata().tolist() == history["loss"]
    assert validation.get_ydata().tolist() == history["val_loss"]


def test_loss_curves_of_several_runs_are_told_apart():
    runs = {"slow": HISTORY, "fast": {"loss": [2.0, 0.5], "val_loss": [2.5, 1.5]}}
    loss, accuracy = map(rendered, plots.loss_curves(runs))
    assert labels_of(loss) == ["slow", "slow, validation", "fast", "fast, validation"]
    assert labels_of(accuracy) == ["slow, validation"]
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-", "--"]
    slow, slow_too, fast, fast_too = (line.get_color() for line in loss.lines)
    assert slow == slow_too != fast == fast_too
    assert loss.lines[2].get_xdata().tolist() == [1, 2]
    assert loss.get_title() == "Loss over 3 epochs"


def test_one_run_may_have_a_label():
    (ax,) = plots.loss_curves({"mine": {"loss": [1.0, 2.0], "val_loss": [1.0, 2.0]}})
    assert labels_of(ax) == ["mine", "mine, validation"]


def test_more_runs_than_colours_are_told_apart():
    runs = {f"run {i}": {"loss": [1.0, i]} for i in range(30)}
    (ax,) = plots.loss_curves(runs)
    assert len({line.get_color() for line in ax.lines}) == 30


def test_loss_curves_show_what_was_measured_now_and_then():
    """Epochs without neighbours are dots, as they are no line; the others need none."""
    (ax,) = plots.loss_curves({"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [5.0, NAN, 3.0, 2.0]})
    training, validation = rendered(ax).lines
    np.testing.assert_array_equal(validation.get_ydata(), [5, NAN, 3, 2])
    assert training.get_marker() == ""
    assert validation.get_marker() == "."
    assert validation.get_markevery().tolist() == [True, False, False, False]


def test_one_epoch_is_a_dot():
    (ax,) = plots.loss_curves({"loss": [0.5]})
    (line,) = rendered(ax).lines
    assert (line.get_marker(), line.get_markevery().tolist()) == (".", [True])
    assert ax.get_title() == "Loss over 1 epoch"


def test_panels_stand_three_in_a_row():
    history = {f"val_{name}": [1.0, 2.0] for name in "abcd"}
    panels = plots.loss_curves(history)
    places = [ax.get_subplotspec().get_geometry() for ax in panels]
    assert places == [(2, 3, i, i) for i in range(4)]


# ---- weights


def test_weights_are_images_beside_each_other(dtype, rng):
    mlp = fm.MLP([9, 4, 1], seed=0, dtype=dtype)
    ax = rendered(plots.weights(mlp))
    mosaic = image_of(ax)
    assert mosaic.shape == (7, 7)
    for unit, (top, left) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        np.testing.assert_array_equal(
            mosaic[top : top + 3, left : left + 3], mlp.weights[0][:, unit].reshape(3, 3)
        )
    assert np.isnan(mosaic[3]).all()
    assert np.isnan(mosaic[:, 3]).all()
    # One scale for all, with the same white in its middle.
    (image,) = ax.images
    limit = np.abs(mlp.weights[0]).max()
    assert image.get_clim() == (-limit, limit)
    assert scale_of(ax) == "weight"
    assert ax.get_title() == "Weights into the 4 units of layer 0"


def test_the_number_of_a_unit_can_be_read():
    ax = plots.weights(fm.MLP([4, 7], seed=0))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "3", "6"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["+0", "+1", "+2"]
    assert ax.get_xticks().tolist() == [0.5, 3.5, 6.5]
    assert image_of(ax).shape == (8, 8)


def test_places_without_a_unit_are_empty():
    mosaic = image_of(plots.weights(fm.MLP([4, 7], seed=0)))
    assert np.isnan(mosaic[6:, 3:]).all()
    assert np.isfinite(mosaic).sum() == 28


@pytest.mark.parametrize("shape", [(2, 3), [3, 2], (1, 6), (np.int64(6), 1)])
def test_weights_in_a_given_shape(shape):
    mlp = fm.MLP([5, 6, 1], seed=0)
    ax = rendered(plots.weights(mlp, 1, shape))
    mosaic = image_of(ax)
    assert mosaic.shape == tuple(shape)
    np.testing.assert_array_equal(mosaic.ravel(), mlp.weights[1][:, 0])
    assert ax.get_title() == "Weights into the unit of layer 1"


def test_a_wide_layer_has_labels_only_where_there_is_room():
    ax = plots.weights(fm.MLP([784, 512, 10], seed=0))
    # Two pixels between images of 28 × 28, in 23 columns and rows.
    assert image_of(ax).shape == (23 * 30 - 2, 23 * 30 - 2)
    assert [text.get_text() for text in ax.get_yticklabels()[:3]] == ["0", "46", "92"]
    assert len(ax.get_xticklabels()) == 12


def test_weights_that_are_all_zero_are_drawn():
    ax = rendered(plots.weights(fm.MLP([4, 2], init="zeros")))
    assert ax.images[0].get_clim() == (-1, 1)


def test_the_picture_of_weights_is_a_copy():
    mlp = fm.MLP([4, 1], seed=0)
    ax = plots.weights(mlp)
    kept = image_of(ax).copy()
    mlp.params[:] = 0
    np.testing.assert_array_equal(image_of(ax), kept)


# ---- decision boundary


def pixels_of(ax):
    """The middles of the pixels of an image, as rows of inputs."""
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    n_down, n_across = image.get_array().shape[:2]
    x0 = left + (right - left) * (np.arange(n_across) + 0.5) / n_across
    x1 = bottom + (top - bottom) * (np.arange(n_down) + 0.5) / n_down
    return np.stack(np.meshgrid(x0, x1), axis=-1).reshape(-1, 2)


def test_the_probability_of_class_1_is_shaded(dtype):
    # P(class 1) is above one half where x0 > 0.5, whatever x1.
    mlp = fm.MLP.from_weights([[[4.0], [0.0]]], [[-2.0]], output="sigmoid", dtype=dtype)
    ax = rendered(plots.decision_boundary(mlp, XOR, XOR_CLASSES))
    (image,) = ax.images
    np.testing.assert_allclose(
        image_of(ax).ravel(), mlp.predict(pixels_of(ax))[:, 0], rtol=0, atol=1e-6
    )
    assert image.origin == "lower"
    assert image.get_clim() == (0, 1)
    # White where it cannot tell, the colours of the classes at the ends.
    blue, white, red = (image.get_cmap()(p)[:3] for p in (0.0, 0.5, 1.0))
    assert blue[2] > blue[0]
    assert min(white) > 0.98
    assert red[0] > red[2]
    (boundary,) = (path for lines in ax.collections[:1] for path in lines.get_paths())
    np.testing.assert_allclose(boundary.vertices[:, 0], 0.5, atol=1e-6)
    assert labels_of(ax) == ["class 0", "class 1"]
    assert scale_of(ax) == "probability of class 1"
    assert ax.get_title() == "Decision boundary: 2 of 4 points are right"


def test_points_are_drawn_in_the_colour_of_their_class():
    mlp = fm.MLP([2, 3], output="softmax", seed=0)
    X = np.arange(14).reshape(7, 2)
    y = np.array([0, 2, 1, 0, 2, 2, 0])
    ax = plots.decision_boundary(mlp, X, y)
    points = [drawn for drawn in ax.collections if drawn.get_label().startswith("class")]
    assert [drawn.get_label() for drawn in points] == ["class 0", "class 1", "class 2"]
    for k, drawn in enumerate(points):
        np.testing.assert_array_equal(drawn.get_offsets(), X[y == k])
    assert len({tuple(drawn.get_facecolor()[0]) for drawn in points}) == 3
    assert ax.get_legend() is not None


def test_softmax_has_the_colour_of_the_likeliest_class():
    mlp = fm.MLP([2, 4], output="softmax", seed=3)
    mlp.params[:] *= 3
    ax = rendered(plots.decision_boundary(mlp, XOR, [0, 1, 2, 3]))
    drawn = image_of(ax).reshape(-1, 3)
    p = mlp.predict(pixels_of(ax))
    colors = np.array([to_rgb(c) for c in ("#0072b2", "#d55e00", "#009e73", "#cc79a7")])
    sure = (4 * p.max(axis=1, keepdims=True) - 1) / 3
    np.testing.assert_allclose(drawn, 1 - 0.6 * sure * (1 - colors[p.argmax(axis=1)]), atol=1e-5)
    right = int((mlp.predict(XOR).argmax(axis=1) == [0, 1, 2, 3]).sum())
    assert ax.get_title() == f"Decision boundary: {right} of 4 points are right"


def test_one_hot_targets_are_classes():
    mlp = fm.MLP([2, 2], output="softmax", seed=0)
    numbers = plots.decision_boundary(mlp, XOR, XOR_CLASSES.ravel())
    one_hot = plots.decision_boundary(mlp, XOR, np.eye(2)[XOR_CLASSES.ravel()])
    assert numbers.get_title() == one_hot.get_title()
    for first, second in zip(numbers.collections, one_hot.collections, strict=True):
        np.testing.assert_array_equal(first.get_offsets(), second.get_offsets())


def test_numbers_are_contours_on_the_scale_of_the_targets():
    mlp = fm.MLP.from_weights([[[1.0], [0.0]]], [[0.0]])
    X, y = np.array([[0, 0], [1, 2], [3, 1]]), [-5.0, 1.0, 20.0]
    ax = rendered(plots.decision_boundary(mlp, X, y))
    *contours, points = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), X)
    np.testing.assert_array_equal(points.get_array(), y)
    assert points.get_clim() == (-5, 20)
    # The prediction is x0, so every contour is upright; they are 2.5 apart.
    paths = [path.vertices for drawn in contours for path in drawn.get_paths()]
    bands = [(v[:, 0].min(), v[:, 0].max()) for v in paths if len(v)]
    assert np.ravel(bands) == pytest.approx([-0.45, 0, 0, 2.5, 2.5, 3.45], abs=0.02)
    assert scale_of(ax) == "prediction, target"
    assert ax.get_title() == "Prediction, and the targets of the points"


@pytest.mark.parametrize("output", ["sigmoid", "identity"])
def test_a_network_that_says_the_same_everywhere_is_drawn(output):
    mlp = fm.MLP([2, 1], init="zeros", output=output)
    ax = rendered(plots.decision_boundary(mlp, [[3, 4]], [0]))
    # A single point has no extent, so the picture takes one unit to each side.
    assert (ax.get_xlim(), ax.get_ylim()) == ((2, 4), (3, 5))


def test_the_plane_reaches_beyond_the_points():
    ax = plots.decision_boundary(fm.MLP([2, 1], seed=0), [[0, -10], [2, 10]], [0, 1])
    assert ax.get_xlim() == pytest.approx((-0.3, 2.3))
    assert ax.get_ylim() == pytest.approx((-13, 13))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("X[:, 0]", "X[:, 1]")


# ---- confusion matrix


def cells_of(ax):
    """The numbers written into the cells, by row and column."""
    return {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts
    }


TRUE = [0, 0, 0, 0, 1, 1, 2, 2]
SCORES = np.eye(3)[[0, 0, 0, 1, 1, 2, 2, 2]] * 0.4 + 0.2
SHARES = [[0.75, 0.25, 0], [0, 0.5, 0.5], [0, 0, 1]]
CELLS = {(0, 0): "3", (0, 1): "1", (1, 1): "1", (1, 2): "1", (2, 2): "2"}


def test_a_confusion_matrix_counts_rows_and_shades_shares():
    ax = rendered(plots.confusion_matrix(TRUE, SCORES))
    np.testing.assert_array_equal(image_of(ax), SHARES)
    assert cells_of(ax) == CELLS
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["0", "1", "2"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title() == "6 of 8 rows are right (75.0 %)"
    assert scale_of(ax) == "share of the true class"


@pytest.mark.parametrize(
    "y_true",
    [np.array(TRUE, np.uint8), np.array(TRUE, float), np.array(TRUE)[:, None], tuple(TRUE)],
)
@pytest.mark.parametrize("y_pred", [SCORES.astype(np.float32), SCORES.argmax(axis=1).astype("u1")])
def test_a_confusion_matrix_takes_scores_and_classes(y_true, y_pred):
    ax = plots.confusion_matrix(y_true, y_pred)
    assert cells_of(ax) == CELLS


def test_classes_are_found_as_the_accuracy_finds_them(rng):
    mlp = fm.MLP([3, 5], output="softmax", seed=0)
    X, y = rng.normal(size=(200, 3)), rng.integers(0, 5, 200)
    p = mlp.predict(X)
    counts = np.zeros((5, 5), int)
    for (i, j), text in cells_of(plots.confusion_matrix(y, p)).items():
        counts[i, j] = int(text)
    assert counts.sum() == 200
    assert counts.trace() / 200 == fm.metrics.accuracy(y, p)
    np.testing.assert_array_equal(counts.sum(axis=0), np.bincount(p.argmax(axis=1), minlength=5))
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(y, minlength=5))


@pytest.mark.parametrize("column", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_column_says_two_classes(column, dtype):
    p = np.array([0.5, 0.6, 0.1, 0.9], dtype).reshape(column)
    ax = plots.confusion_matrix([0, 0, 1, 1], p, labels=["ham", "spam"])
    assert cells_of(ax) == {(0, 0): "1", (0, 1): "1", (1, 0): "1", (1, 1): "1"}
    assert [text.get_text() for text in ax.get_yticklabels()] == ["ham", "spam"]


def test_a_class_without_rows_has_its_place():
    ax = rendered(plots.confusion_matrix([0, 2], [0, 2], labels=["a", "b", "c"]))
    np.testing.assert_array_equal(image_of(ax), np.diag([1, 0, 1]))


def test_numbers_are_readable_on_their_shade():
    ax = plots.confusion_matrix(TRUE, SCORES)
    colors = {text.get_text(): text.get_color() for text in ax.texts if text.get_text() != "1"}
    assert colors == {"3": "white", "2": "white"}
    assert {text.get_color() for text in ax.texts if text.get_text() == "1"} == {"black"}


def test_many_classes_have_no_numbers_and_few_labels():
    classes = np.arange(60)
    ax = rendered(plots.confusion_matrix(classes, classes, [f"species {i}" for i in classes]))
    assert cells_of(ax) == {}
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [f"species {i}" for i in range(0, 60, 3)]
    assert ax.get_xticklabels()[0].get_rotation() == 90


# ---- learning rates

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
LOSSES = [2.0, 1.9, 1.0, 0.5, 80.0]


def test_learning_rates_are_drawn_on_a_logarithmic_axis():
    ax = rendered(plots.learning_rates(RATES, LOSSES))
    line, mark = ax.lines
    assert line.get_xdata().tolist() == RATES
    assert line.get_ydata().tolist() == LOSSES
    assert ax.get_xscale() == "log"
    assert mark.get_xdata() == pytest.approx([0.01, 0.01])
    assert labels_of(ax) == ["suggested: 0.01"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")
    assert ax.get_title() == "Loss while the learning rate grows"
    # The whole descent can be seen, and not much of what diverged.
    low, high = ax.get_ylim()
    assert low < 0.5
    assert 2 < high < 3


def test_the_suggested_rate_may_be_given():
    ax = plots.learning_rates(RATES, LOSSES, suggested=0.0321)
    assert ax.lines[1].get_xdata() == pytest.approx([0.0321, 0.0321])
    assert labels_of(ax) == ["suggested: 0.0321"]


def test_a_suggested_rate_is_never_below_the_first():
    ax = plots.learning_rates([0.5, 1.0], [2.0, 3.0])
    assert ax.lines[1].get_xdata() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("losses", [[3.0, NAN, 1.0, INF, NAN], [NAN, NAN, 5.0, NAN, NAN]])
def test_losses_that_are_not_finite_are_gaps(losses):
    ax = rendered(plots.learning_rates(RATES, losses))
    np.testing.assert_array_equal(
        ax.lines[0].get_ydata(), np.where(np.isfinite(losses), losses, NAN)
    )
    assert ax.lines[1].get_xdata() == pytest.approx([1e-3, 1e-3])


# ---- axes, and no screen

DRAW = {
    "loss_curves": lambda **ax: plots.loss_curves({"loss": [2.0, 1.0]}, **ax),
    "weights": lambda **ax: plots.weights(fm.MLP([4, 3], seed=0), **ax),
    "decision_boundary": lambda **ax: plots.decision_boundary(
        fm.MLP([2, 1], output="sigmoid", seed=0), XOR, XOR_CLASSES, **ax
    ),
    "confusion_matrix": lambda **ax: plots.confusion_matrix(TRUE, SCORES, **ax),
    "learning_rates": lambda **ax: plots.learning_rates(RATES, LOSSES, **ax),
}


def test_every_function_is_tested_here():
    assert sorted(DRAW) == sorted(plots.__all__)


@pytest.mark.parametrize("name", DRAW)
def test_given_axes_are_drawn_on_and_returned(name):
    mine = new_axes()
    if name == "loss_curves":
        (ax,) = DRAW[name](axes=mine)
        assert DRAW[name](axes=[mine])[0] is DRAW[name](axes=(mine,))[0] is mine
    else:
        ax = DRAW[name](ax=mine)
    assert rendered(ax) is mine
    assert mine.figure.axes == [mine]
    assert mine.has_data()


@pytest.mark.parametrize("name", [name for name in DRAW if name != "loss_curves"])
def test_what_is_no_axes_is_refused_with_what_would_be(name):
    message = r"^ax: got Figure, expected a matplotlib Axes, such as plt\.gca\(\) gives$"
    with pytest.raises(TypeError, match=message):
        DRAW[name](ax=Figure())


def test_panels_may_be_part_of_a_grid():
    grid = Figure().subplots(2, 2)
    panels = plots.loss_curves(HISTORY, axes=grid[1])
    assert [panels[0], panels[1]] == [grid[1, 0], grid[1, 1]]
    assert not grid[0, 0].has_data()


def test_pyplot_is_not_needed_and_not_touched():
    """So there is no window system, no figure to close, and nothing shared between threads."""
    code = """
import io, sys
import fastmlp as fm
fm.plots.loss_curves({"loss": [2.0, 1.0]})[0].figure.savefig(io.BytesIO())
assert "matplotlib.pyplot" not in sys.modules
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
before = plt.gca()
assert fm.plots.weights(fm.MLP([4, 2], seed=0)) is not before
assert plt.get_fignums() == [1] and not before.has_data()
assert fm.plots.weights(fm.MLP([4, 2], seed=0), ax=plt.gca()) is before
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- mistakes

MLP = fm.MLP([4, 6, 2], output="softmax", seed=0)
PLANE = fm.MLP([2, 3], output="softmax", seed=0)
AX = new_axes()

MISTAKES = [
    (
        lambda: plots.loss_curves([1.0, 2.0]),
        TypeError,
        "history: got list, expected the History that fit returns, or a dictionary of labels and "
        "Histories",
    ),
    (
        lambda: plots.loss_curves(fm.Trainer(MLP).history),
        ValueError,
        "history: got no epochs, expected at least one; train first",
    ),
    (
        lambda: plots.loss_curves({}),
        ValueError,
        "history: got no epochs, expected at least one; train first",
    ),
    (
        lambda: plots.loss_curves({"a": HISTORY, "b": {"loss": []}}),
        ValueError,
        "history['b']: got no epochs, expected at least one; train first",
    ),
    (
        lambda: plots.loss_curves({"a": HISTORY, "b": [1.0]}),
        TypeError,
        "history: got list under 'b', expected the History that fit returns, or a dictionary of "
        "labels and Histories",
    ),
    (
        lambda: plots.loss_curves({"loss": [[1.0, 2.0]]}),
        ValueError,
        "history['loss']: got shape (1, 2), expected (n,), a list of numbers",
    ),
    (
        lambda: plots.loss_curves(HISTORY, axes=AX),
        ValueError,
        "axes: got 1, expected 2, one for each quantity in history: loss, accuracy",
    ),
    (
        lambda: plots.loss_curves(HISTORY, axes=[AX, None]),
        TypeError,
        "axes: got NoneType, expected matplotlib Axes",
    ),
    (
        lambda: plots.weights(MLP.weights[0]),
        TypeError,
        "mlp: got ndarray, expected a fastmlp.MLP",
    ),
    (
        lambda: plots.weights(MLP, 2),
        ValueError,
        "layer: got 2, expected a whole number of at least 0 and below 2",
    ),
    (
        lambda: plots.weights(MLP, 1),
        ValueError,
        "shape: layer 1 has 6 inputs, which make no square; give the rows and columns of an "
        "image, shape=(1, 6) if they are none",
    ),
    (
        lambda: plots.weights(MLP, 1, (2, 2)),
        ValueError,
        "shape: got (2, 2), 4 weights, expected 6, one for each input of layer 1",
    ),
    (
        lambda: plots.weights(MLP, 1, 6),
        ValueError,
        "shape: got 6, expected two whole numbers, (rows, columns)",
    ),
    (
        lambda: plots.weights(MLP, 1, (6, 1.0)),
        ValueError,
        "shape: got 1.0, expected a whole number of at least 1",
    ),
    (
        lambda: plots.decision_boundary("mlp", XOR, XOR_CLASSES),
        TypeError,
        "mlp: got str, expected a fastmlp.MLP",
    ),
    (
        lambda: plots.decision_boundary(MLP, XOR, XOR_CLASSES),
        ValueError,
        "mlp: got 4 inputs, expected two, one for each axis of the picture",
    ),
    (
        lambda: plots.decision_boundary(fm.MLP([2, 3]), XOR, np.zeros((4, 3))),
        ValueError,
        "mlp: got 3 outputs with 'identity', expected one output, or 'softmax' over the classes",
    ),
    (
        lambda: plots.decision_boundary(PLANE, np.zeros((4, 3)), XOR_CLASSES),
        ValueError,
        "X: got 3 columns, expected 2, one for each of the network's inputs",
    ),
    (
        lambda: plots.decision_boundary(PLANE, XOR, [0, 1, 2, 3]),
        ValueError,
        "y: row 3 holds the class 3, expected one from 0 to 2; the network has 3 outputs",
    ),
    (
        lambda: plots.decision_boundary(PLANE, [[0, NAN]], [0]),
        ValueError,
        "X: row 0 holds nan in column 1, expected finite numbers; drop the row or fill in a value",
    ),
    (
        lambda: plots.decision_boundary(fm.MLP([2, 1]), [[0, 1]], [INF]),
        ValueError,
        "y: row 0 holds inf in column 0, expected finite numbers; drop the row or fill in a value",
    ),
    (
        lambda: plots.confusion_matrix(TRUE, SCORES[:5]),
        ValueError,
        "y_true: got 8 rows, expected 5, as many as y_pred has",
    ),
    (
        lambda: plots.confusion_matrix([], []),
        ValueError,
        "y_true: got no rows, expected at least one",
    ),
    (
        lambda: plots.confusion_matrix([0], np.zeros((1, 0))),
        ValueError,
        "y_pred: got no columns, expected at least one",
    ),
    (
        lambda: plots.confusion_matrix(np.eye(3), np.eye(3)),
        ValueError,
        "y_true: got shape (3, 3), expected (3,), a class number for each row; "
        "y_true.argmax(axis=1) are those of one-hot rows",
    ),
    (
        lambda: plots.confusion_matrix([0, 3], SCORES[:2]),
        ValueError,
        "y_true: row 1 holds 3, expected a class number from 0 to 2",
    ),
    (
        lambda: plots.confusion_matrix([0, 0.5], SCORES[:2]),
        ValueError,
        "y_true: row 1 holds 0.5, expected a class number from 0 to 2",
    ),
    (
        lambda: plots.confusion_matrix([0, 1], [0, -1]),
        ValueError,
        "y_pred: row 1 holds -1, expected a class number from 0 to 1",
    ),
    (
        lambda: plots.confusion_matrix([0, 1], [0.5, NAN]),
        ValueError,
        "y_pred: row 1 holds nan in column 0, expected finite numbers; drop the row or fill in a "
        "value",
    ),
    (
        lambda: plots.confusion_matrix(["a", "b"], [0, 1]),
        TypeError,
        "y_true: got strings, expected real numbers; convert it first, for instance with "
        "numpy.asarray(y_true, dtype='float32')",
    ),
    (
        lambda: plots.confusion_matrix(TRUE, SCORES, ["a", "b"]),
        ValueError,
        "labels: got 2, expected 3, one for each class of y_pred",
    ),
    (
        lambda: plots.confusion_matrix([0, 1], [0, 1], "ab"),
        TypeError,
        "labels: got 'ab', expected a sequence of names",
    ),
    (
        lambda: plots.confusion_matrix([0, 1], [0, 1], []),
        ValueError,
        "labels: got 0, expected 2, one for each class of y_pred",
    ),
    (
        lambda: plots.learning_rates(RATES, LOSSES[:4]),
        ValueError,
        "losses: got 4, expected 5, one for each of rates",
    ),
    (lambda: plots.learning_rates([], []), ValueError, "rates: got none, expected at least one"),
    (
        lambda: plots.learning_rates([0.1, 0.3, 0.2], [3, 2, 1]),
        ValueError,
        "rates: holds 0.2 in place 2, expected a finite number above 0.3; sort them, and the "
        "losses alike",
    ),
    (
        lambda: plots.learning_rates([0.0, 0.1], [3, 2]),
        ValueError,
        "rates: holds 0 in place 0, expected a finite number above 0; sort them, and the losses "
        "alike",
    ),
    (
        lambda: plots.learning_rates([0.1, INF], [3, 2]),
        ValueError,
        "rates: holds inf in place 1, expected a finite number above 0.1; sort them, and the "
        "losses alike",
    ),
    (
        lambda: plots.learning_rates([0.1, 0.2], [NAN, INF]),
        ValueError,
        "losses: got no finite number, expected at least one; begin with lower rates",
    ),
    (
        lambda: plots.learning_rates(RATES, LOSSES, suggested=0),
        ValueError,
        "suggested: got 0, expected a finite number above 0",
    ),
    (
        lambda: plots.learning_rates(RATES, [LOSSES]),
        ValueError,
        "losses: got shape (1, 5), expected (n,), a list of numbers",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES, ids=[m[2][:40] for m in MISTAKES])
def test_a_mistake_has_its_one_sentence(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
