"""Pictures of training and of networks by matplotlib: ``pip install "fastmlp[plots]"``.

Each function draws on the axes it is given, or on a new figure, and returns its axes: for another
title or a logarithmic scale, call their methods. A new figure is not one of pyplot's and needs no
screen: ``ax.figure.savefig("loss.png")`` writes it to a file. To see a picture in a window or a
notebook, give axes of pyplot's: ``fm.plots.weights(mlp, ax=plt.gca())``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import arrays
from .arguments import number, whole_number
from .losses import get as find_loss
from .network import MLP

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap, to_rgb
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ImportError(
        f"fastmlp.plots needs matplotlib ({error}): pip install 'fastmlp[plots]'"
    ) from error

__all__ = ["confusion_matrix", "decision_boundary", "learning_rates", "loss_curves", "weights"]

Columns: TypeAlias = Mapping[str, Sequence[float]]

# Told apart by colour-blind eyes, too: M. Okabe and K. Ito's.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#222222")
# Predictions along each side of a picture of the plane.
_GRID = 200
# Numbers in more cells than these, or labels of more rows, cannot be read.
_MOST_LABELS = 20


def loss_curves(history: Columns | Mapping[str, Columns], *, axes: Any = None) -> NDArray[Any]:
    """Draw what training has measured over the epochs, one panel for each quantity.

    A column and its ``val_`` twin share a panel. Where an epoch was not measured, its line has a
    gap.

    Parameters
    ----------
    history : History, or dict of str to History
        What ``fit`` returned; or several of them under the labels they shall have in the legend.
    axes : Axes or sequence of Axes, optional
        As many as there are panels: one for the loss, and one for each metric. Default: those of a
        new figure.

    Returns
    -------
    ndarray of Axes, shape (n_panels,)

    Raises
    ------
    TypeError, ValueError
        If ``history`` is none, or has no epochs, or ``axes`` are not as many as the panels.

    Examples
    --------
    >>> import fastmlp as fm
    >>> X, y = fm.datasets.xor()
    >>> rates = {"lr 0.1": 0.1, "lr 0.01": 0.01}
    >>> runs = {
    ...     label: fm.MLP([2, 8, 1], seed=0).fit(X, y, optimizer=fm.Adam(lr=lr), epochs=20)
    ...     for label, lr in rates.items()
    ... }
    >>> (ax,) = fm.plots.loss_curves(runs)
    >>> [line.get_label() for line in ax.lines]
    ['lr 0.1', 'lr 0.01']
    """
    runs = _runs(history)
    names = list(dict.fromkeys(name for run in runs.values() for name in run))
    quantities = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    panels = _panels(axes, quantities)
    colors = _colors(max(2, len(runs)))
    for ax, quantity in zip(panels, quantities, strict=True):
        n_epochs = 0
        for i, (label, run) in enumerate(runs.items()):
            for name in (quantity, f"val_{quantity}"):
                if name not in run:
                    continue
                values, held_out = run[name], name != quantity
                part = "validation" if held_out else "training"
                if label:
                    part = f"{label}, {part}" if held_out else label
                _draw_line(
                    ax,
                    np.arange(1, len(values) + 1),
                    values,
                    color=colors[i if label else int(held_out)],
                    linestyle="--" if held_out and label else "-",
                    label=part,
                )
                n_epochs = max(n_epochs, len(values))
        epochs = "1 epoch" if n_epochs == 1 else f"{n_epochs:,} epochs"
        title = quantity.replace("_", " ")
        ax.set(xlabel="epoch", ylabel=title, title=f"{title[:1].upper()}{title[1:]} over {epochs}")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _tidy(ax)
        # The default place, named: else matplotlib may warn that finding it takes long.
        ax.legend(loc="best", frameon=False)
    return panels


def weights(
    mlp: MLP, layer: int = 0, shape: tuple[int, int] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the weights into each unit of a layer as a small image, all on one scale.

    The images stand in rows; the number of a unit is the sum of those at its row and its column.

    Parameters
    ----------
    mlp : MLP
    layer : int, default 0
        Which layer: the index in ``mlp.weights``.
    shape : tuple of int, optional
        Rows and columns of an image, which together hold the layer's inputs. Default: a square, if
        they make one.
    ax : Axes, optional
        Default: that of a new figure.

    Returns
    -------
    Axes
        Its image is all the small ones, with NaN between them.

    Raises
    ------
    TypeError, ValueError
        If there is no such layer, or the inputs do not have the shape.

    Examples
    --------
    >>> import fastmlp as fm
    >>> mlp = fm.MLP([64, 12, 10], seed=0)
    >>> ax = fm.plots.weights(mlp)
    >>> ax.get_title()
    'Weights into the 12 units of layer 0'
    >>> ax.images[0].get_array().shape  # three rows of four images
    (26, 35)
    """
    _check_network(mlp)
    layer = whole_number("layer", layer, 0, len(mlp.weights))
    w = mlp.weights[layer]
    n_units = w.shape[1]
    height, width = _image_shape(shape, len(w), layer)
    ax = _axes(ax, (6.4, 5.6))

    # All together about as wide as high, with NaN between neighbours.
    gap = 1 + min(height, width) // 16
    high, wide = height + gap, width + gap
    across = min(n_units, math.ceil(math.sqrt(n_units * high / wide)))
    down = math.ceil(n_units / across)
    mosaic = np.full((down * high - gap, across * wide - gap), np.nan, w.dtype)
    for unit in range(n_units):
        top, left = unit // across * high, unit % across * wide
        mosaic[top : top + height, left : left + width] = w[:, unit].reshape(height, width)

    limit = float(np.abs(w).max()) or 1.0
    image = ax.imshow(
        mosaic,
        cmap=colormaps["RdBu_r"].with_extremes(bad="0.8"),
        vmin=-limit,
        vmax=limit,
        # Square pixels, unless they would make a thread of it.
        aspect="equal" if 1 / 3 < mosaic.shape[0] / mosaic.shape[1] < 3 else "auto",
    )
    columns, rows = _labelled(across), _labelled(down)
    ax.set_xticks([wide * i + (width - 1) / 2 for i in columns], [f"+{i}" for i in columns])
    ax.set_yticks([high * i + (height - 1) / 2 for i in rows], [f"{i * across}" for i in rows])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    units = "unit" if n_units == 1 else f"{n_units:,} units"
    ax.set(ylabel="unit", title=f"Weights into the {units} of layer {layer}")
    _add_colorbar(ax, image, "weight")
    return ax


def decision_boundary(mlp: MLP, X: Any, y: Any, *, ax: Axes | None = None) -> Axes:
    """Draw what a network of two inputs predicts around the given points, and the points.

    With one sigmoid output, the probability of class 1 is shaded; with softmax, each point of the
    plane has the colour of its likeliest class, the paler the less sure. Lines are where the
    decision changes. Any other output is a number, drawn as contours; the points have the colours
    of their targets.

    Parameters
    ----------
    mlp : MLP
        Two inputs; one output, or softmax.
    X : array_like, shape (n, 2)
    y : array_like, shape (n,) or (n, n_out)
        Targets, as for ``fit``.
    ax : Axes, optional
        Default: that of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the network has other inputs or outputs, or ``X`` and ``y`` do not fit it.

    Examples
    --------
    >>> import fastmlp as fm
    >>> X, y = fm.datasets.xor()
    >>> mlp = fm.MLP([2, 8, 1], activation="tanh", output="sigmoid", seed=1)
    >>> history = mlp.fit(X, y, optimizer=fm.Adam(lr=0.05), epochs=500)
    >>> fm.plots.decision_boundary(mlp, X, y).get_title()
    'Decision boundary: 4 of 4 points are right'
    """
    _check_network(mlp)
    n_in, n_out = mlp.sizes[0], mlp.sizes[-1]
    if n_in != 2:
        raise ValueError(f"mlp: got {n_in} inputs, expected two, one for each axis of the picture")
    if n_out > 1 and mlp.output != "softmax":
        raise ValueError(
            f"mlp: got {n_out} outputs with {mlp.output!r}, expected one output, or 'softmax' over "
            f"the classes"
        )
    rows = arrays.inputs(X, n_in)
    loss = find_loss(None, mlp.output)
    targets = arrays.targets(y, loss, n_out, len(rows))
    rows.check_finite(mlp.dtype)
    targets.check_finite(mlp.dtype)
    ax = _axes(ax, (6.4, 5.0))

    points = rows.array.astype(np.float64)
    t = targets.array.astype(np.float64)
    binary = n_out == 1
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high > low, 0.15 * (high - low), 1.0)
    low, high = low - margin, high + margin
    # The middles of the image's pixels.
    x0, x1 = (low + (high - low) * (np.arange(_GRID)[:, None] + 0.5) / _GRID).T
    plane = np.stack(np.meshgrid(x0, x1), axis=-1).reshape(-1, 2)
    predicted = mlp.predict(plane).astype(np.float64)
    if mlp.output in ("sigmoid", "softmax"):
        extent = (low[0], high[0], low[1], high[1])
        p = np.hstack([1 - predicted, predicted]) if binary else predicted
        truth = t[:, 0].astype(np.intp) if arrays.are_class_numbers(targets, loss) else _decided(t)
        right = int((_decided(mlp.predict(rows.array)) == truth).sum())
        _draw_classes(ax, (x0, x1), extent, p, binary)
        _draw_points(ax, points, truth, p.shape[1])
        ax.set_title(f"Decision boundary: {right:,} of {len(points):,} points are right")
    else:
        _draw_numbers(ax, (x0, x1), predicted.reshape(_GRID, _GRID), points, t[:, 0])
        ax.set_title("Prediction, and the targets of the points")
    ax.set(xlabel="X[:, 0]", ylabel="X[:, 1]", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return ax


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    labels: Sequence[object] | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often which class was taken for which.

    A cell's number is that of the rows; its shade is their share of all rows of the true class.

    Parameters
    ----------
    y_true : array_like, shape (n,)
        Class numbers from 0.
    y_pred : array_like, shape (n, n_out) or (n,)
        What ``mlp.predict`` gives: the class is the one with the highest score, with one column 1
        where the score is above 0.5, else 0. Or whole numbers, shape (n,): the classes themselves.
    labels : sequence, optional
        What to call the classes, each in its place. Default: their numbers.
    ax : Axes, optional
        Default: that of a new figure.

    Returns
    -------
    Axes
        Its image holds the shares, the true classes in rows.

    Raises
    ------
    TypeError, ValueError
        If an array is not what it should be, or there is not one label for each class.

    Examples
    --------
    >>> import fastmlp as fm
    >>> ax = fm.plots.confusion_matrix([0, 0, 1, 1], [0.1, 0.7, 0.8, 0.9], ["ham", "spam"])
    >>> ax.images[0].get_array().tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    if labels is not None:
        labels = _sequence("labels", labels)
    true, predicted, n_classes = _classes(y_true, y_pred, None if labels is None else len(labels))
    if labels is None:
        labels = range(n_classes)
    elif len(labels) != n_classes:
        raise ValueError(
            f"labels: got {len(labels)}, expected {n_classes}, one for each class of y_pred"
        )
    side = min(max(4.0, 1.6 + 0.45 * n_classes), 9.0)
    ax = _axes(ax, (side + 0.8, side))

    counts = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n_classes <= _MOST_LABELS:
        for i, j in np.argwhere(counts):
            color = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=color)
    shown = _labelled(n_classes)
    names = [str(labels[i]) for i in shown]
    long = max(map(len, names)) * len(names) > 40
    ax.set_xticks(shown, names, rotation=90 if long else 0)
    ax.set_yticks(shown, names)
    n, right = len(true), int(counts.trace())
    ax.set(
        xlabel="predicted class",
        ylabel="true class",
        title=f"{right:,} of {n:,} rows are right ({100 * right / n:.1f} %)",
    )
    _add_colorbar(ax, image, "share of the true class")
    return ax


def learning_rates(
    rates: ArrayLike,
    losses: ArrayLike,
    *,
    suggested: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the loss over the learning rate that grew meanwhile, and mark the rate to take.

    Parameters
    ----------
    rates : array_like, shape (n,)
        Learning rates above 0, each greater than the one before.
    losses : array_like, shape (n,)
        The loss at each. What is not finite is left out; the axis ends a little above the highest
        loss before the lowest, so that diverging does not hide everything else.
    suggested : float, optional
        The rate to mark. Default: a tenth of the one with the lowest loss, where the loss still
        falls fast and is far from diverging; or the first, if that is greater.
    ax : Axes, optional
        Default: that of a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the rates do not grow, no loss is finite, or there is not one loss for each rate.

    Examples
    --------
    >>> import fastmlp as fm
    >>> ax = fm.plots.learning_rates([1e-3, 1e-2, 1e-1, 1.0], [2.3, 1.1, 0.4, 9.0])
    >>> ax.get_legend_handles_labels()[1]
    ['suggested: 0.01']
    """
    x, values = _vector("rates", rates), _vector("losses", losses)
    if len(x) != len(values):
        raise ValueError(f"losses: got {len(values)}, expected {len(x)}, one for each of rates")
    if len(x) == 0:
        raise ValueError("rates: got none, expected at least one")
    before = np.append(0.0, x[:-1])
    grows = np.isfinite(x) & (x > before)
    if not grows.all():
        at = int(grows.argmin())
        raise ValueError(
            f"rates: holds {x[at]:g} in place {at}, expected a finite number above "
            f"{before[at]:g}; sort them, and the losses alike"
        )
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(
            "losses: got no finite number, expected at least one; begin with lower rates"
        )
    values = np.where(finite, values, np.nan)
    best = int(np.nanargmin(values))
    if suggested is None:
        suggested = max(x[best] / 10, x[0])
    suggested = number("suggested", suggested, 0, above=True)
    ax = _axes(ax, (6.4, 4.0))

    _draw_line(ax, x, values, color=_COLORS[0])
    ax.axvline(
        suggested, color=_COLORS[1], linestyle="--", label=f"suggested: {suggested:.3g}", zorder=1
    )
    height = np.nanmax(values[: best + 1]) - values[best]
    if height > 0:
        ax.set_ylim(values[best] - 0.1 * height, values[best] + 1.3 * height)
    ax.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss",
        title="Loss while the learning rate grows",
    )
    _tidy(ax)
    ax.legend(loc="best", frameon=False)
    return ax


# ---- what is given


def _check_network(mlp: object) -> None:
    if not isinstance(mlp, MLP):
        raise TypeError(f"mlp: got {type(mlp).__name__}, expected a fastmlp.MLP")


def _runs(history: object) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the columns of each run under its label; of a single one, under none."""
    expected = "expected the History that fit returns, or a dictionary of labels and Histories"
    if not isinstance(history, Mapping):
        raise TypeError(f"history: got {type(history).__name__}, {expected}")
    several = any(isinstance(value, Mapping) for value in history.values())
    runs = {}
    for label, run in history.items() if several else [("", history)]:
        if not isinstance(run, Mapping):
            raise TypeError(f"history: got {type(run).__name__} under {label!r}, {expected}")
        of_label = f"history[{label!r}]" if several else "history"
        columns = {name: _vector(f"{of_label}[{name!r}]", column) for name, column in run.items()}
        if not any(map(len, columns.values())):
            raise ValueError(f"{of_label}: got no epochs, expected at least one; train first")
        runs[str(label)] = columns
    return runs


def _vector(argument: str, values: Any) -> NDArray[np.float64]:
    found = arrays.as_numbers(values, argument)
    if found.ndim != 1:
        raise ValueError(f"{argument}: got shape {found.shape}, expected (n,), a list of numbers")
    return found.astype(np.float64)


def _sequence(argument: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise TypeError(f"{argument}: got {values!r}, expected a sequence of names")
    return list(values)


def _image_shape(shape: Any, n_in: int, layer: int) -> tuple[int, int]:
    """Return rows and columns of the images that the inputs of a layer are."""
    if shape is None:
        side = math.isqrt(n_in)
        if side * side == n_in:
            return side, side
        raise ValueError(
            f"shape: layer {layer} has {n_in} inputs, which make no square; give the rows and "
            f"columns of an image, shape=(1, {n_in}) if they are none"
        )
    sides = shape if isinstance(shape, tuple | list) else ()
    if len(sides) != 2:
        raise ValueError(f"shape: got {shape!r}, expected two whole numbers, (rows, columns)")
    height, width = (whole_number("shape", side, 1) for side in sides)
    if height * width != n_in:
        raise ValueError(
            f"shape: got {shape!r}, {height * width} weights, expected {n_in}, one for each input "
            f"of layer {layer}"
        )
    return height, width


def _classes(
    y_true: Any, y_pred: Any, n_labels: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return true and predicted class of each row, and how many classes there are."""
    truth, scores = _columns("y_true", y_true), _columns("y_pred", y_pred)
    if len(truth) != len(scores):
        raise ValueError(
            f"y_true: got {len(truth)} rows, expected {len(scores)}, as many as y_pred has"
        )
    if truth.shape[1] > 1:
        raise ValueError(
            f"y_true: got shape {truth.shape}, expected ({len(truth)},), a class number for each "
            f"row; y_true.argmax(axis=1) are those of one-hot rows"
        )
    if scores.shape[1] > 1 or scores.dtype.kind == "f":
        n_classes = max(2, scores.shape[1])
        predicted = _decided(scores)
    else:
        highest = int(max(scores.max(), truth.max()))
        n_classes = max(2, highest + 1 if n_labels is None else n_labels)
        predicted = _class_numbers("y_pred", scores[:, 0], n_classes)
    return _class_numbers("y_true", truth[:, 0], n_classes), predicted, n_classes


def _columns(argument: str, values: Any) -> NDArray[Any]:
    """Return finite numbers in rows and columns."""
    found = arrays.as_numbers(values, argument)
    rows = arrays.Rows(found[:, None] if found.ndim == 1 else found, argument)
    if rows.array.shape[1] == 0:
        raise ValueError(f"{argument}: got no columns, expected at least one")
    rows.check_finite(np.dtype(np.float64))
    return rows.array


def _decided(scores: NDArray[Any]) -> NDArray[np.intp]:
    """Return the class that the scores of each row say: as `fastmlp.metrics.accuracy` has it."""
    found = scores[:, 0] > 0.5 if scores.shape[1] == 1 else scores.argmax(axis=1)
    return found.astype(np.intp)


def _class_numbers(argument: str, values: NDArray[Any], n_classes: int) -> NDArray[np.intp]:
    wrong = (values < 0) | (values >= n_classes) | (values % 1 != 0)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"{argument}: row {row} holds {values[row]}, expected a class number from 0 to "
            f"{n_classes - 1}"
        )
    return values.astype(np.intp)


# ---- where and how it is drawn


def _axes(ax: Any, size: tuple[float, float]) -> Axes:
    """Return ``ax``, or that of a new figure of so many inches."""
    if ax is None:
        return Figure(figsize=size, layout="compressed").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax: got {type(ax).__name__}, expected a matplotlib Axes, such as plt.gca() gives"
        )
    return ax


def _panels(axes: Any, quantities: list[str]) -> NDArray[Any]:
    """Return ``axes`` as an array, or those of a new figure, at most three in a row."""
    n = len(quantities)
    found = np.empty(n, object)
    if axes is None:
        across = min(n, 3)
        down = math.ceil(n / across)
        figure = Figure(figsize=(max(6.4, 4.4 * across), 3.6 * down), layout="constrained")
        found[:] = [figure.add_subplot(down, across, i + 1) for i in range(n)]
        return found
    given = list(np.asarray(axes, object).flat)
    for ax in given:
        if not isinstance(ax, Axes):
            raise TypeError(f"axes: got {type(ax).__name__}, expected matplotlib Axes")
    if len(given) != n:
        raise ValueError(
            f"axes: got {len(given)}, expected {n}, one for each quantity in history: "
            f"{', '.join(quantities)}"
        )
    found[:] = given
    return found


def _labelled(n: int) -> range:
    """Return which of ``n`` rows or columns have room for a label."""
    return range(0, n, math.ceil(n / _MOST_LABELS))


def _tidy(ax: Axes) -> None:
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)


def _colors(n: int) -> list[tuple[float, float, float]]:
    """Return ``n`` colours that can be told apart, as far as possible."""
    if n <= len(_COLORS):
        return [to_rgb(color) for color in _COLORS[:n]]
    return [to_rgb(color) for color in colormaps["turbo"](np.linspace(0.05, 0.95, n))]


def _draw_line(ax: Axes, x: NDArray[Any], y: NDArray[np.float64], **style: Any) -> None:
    """Draw a line with gaps where ``y`` is not finite, and dots where gaps leave no line at all."""
    finite = np.pad(np.isfinite(y), 1)
    alone = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    ax.plot(x, y, marker="." if alone.any() else "", markevery=alone, **style)


def _add_colorbar(ax: Axes, of: Any, label: str) -> None:
    """Put the scale of a picture beside it: as high as it is, whatever its shape."""
    ax.figure.colorbar(of, cax=ax.inset_axes((1.03, 0, 0.04, 1)), label=label)


def _shades(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each row of probabilities the colour of the highest, the paler the less sure."""
    n_classes = p.shape[1]
    colors = np.array(_colors(n_classes))[p.argmax(axis=1)]
    sure = (p.max(axis=1, keepdims=True) * n_classes - 1) / (n_classes - 1)
    # Full colours are left to the points.
    shades: NDArray[np.float64] = np.clip(1 - 0.6 * sure * (1 - colors), 0, 1)
    return shades


def _draw_classes(
    ax: Axes,
    grid: tuple[NDArray[np.float64], NDArray[np.float64]],
    extent: tuple[float, float, float, float],
    p: NDArray[np.float64],
    binary: bool,
) -> None:
    """Shade the plane by the probabilities ``p`` of its pixels, with lines between the classes."""
    where: dict[str, Any] = {"extent": extent, "origin": "lower", "aspect": "auto"}
    if binary:
        ends = _shades(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))
        shades = LinearSegmentedColormap.from_list("classes", [tuple(end) for end in ends])
        image = ax.imshow(p[:, 1].reshape(_GRID, _GRID), cmap=shades, vmin=0, vmax=1, **where)
        _add_colorbar(ax, image, "probability of class 1")
    else:
        ax.imshow(_shades(p).reshape(_GRID, _GRID, 3), **where)
    for k in range(1 if binary else 0, p.shape[1]):
        lead = p[:, k] - np.delete(p, k, axis=1).max(axis=1)
        # Without a boundary in the picture, contour would warn.
        if lead.min() < 0 < lead.max():
            ax.contour(*grid, lead.reshape(_GRID, _GRID), levels=[0], colors="0.2", linewidths=1)


def _draw_points(
    ax: Axes, points: NDArray[np.float64], truth: NDArray[np.intp], n_classes: int
) -> None:
    for k, color in enumerate(_colors(n_classes)):
        x0, x1 = points[truth == k].T
        ax.scatter(x0, x1, s=28, color=color, edgecolors="white", label=f"class {k}")
    # A fixed place: looking for the best one takes long with many points.
    ax.legend(loc="upper right")


def _draw_numbers(
    ax: Axes,
    grid: tuple[NDArray[np.float64], NDArray[np.float64]],
    predicted: NDArray[np.float64],
    points: NDArray[np.float64],
    targets: NDArray[np.float64],
) -> None:
    """Draw contours of the predictions, and the points on the same scale."""
    low = min(predicted.min(), targets.min())
    high = max(predicted.max(), targets.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    levels = MaxNLocator(12).tick_values(low, high)
    scale: dict[str, Any] = {"cmap": "viridis", "vmin": levels[0], "vmax": levels[-1]}
    shaded = ax.contourf(*grid, predicted, levels=levels, **scale)
    ax.scatter(
        points[:, 0], points[:, 1], c=targets, s=28, edgecolors="white", label="targets", **scale
    )
    _add_colorbar(ax, shaded, "prediction, target")
