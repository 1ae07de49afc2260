"""exp and tanh within 2 units in the last place, and what is made of them.

For float32 all 2**32 bit patterns can be tried; that takes minutes, so by default every 61st is,
and all of them where something changes. With the environment variable ``FASTMLP_EXHAUSTIVE`` the
stride is 1. For float64 a sample is compared with a multi-precision library.
"""

import itertools
import math
import os

import mpmath
import numpy as np
import pytest
import reference

from fastmlp import kernels

MOST_ULPS = 2
# 1 / (1 + e**-z) is made of three steps; the worst seen is 2.1.
MOST_ULPS_OF_SIGMOID = 3
STRIDE = 1 if os.environ.get("FASTMLP_EXHAUSTIVE") else 61
BLOCK = 2**20
# float32: where every pattern is tried, whatever the stride, for both signs. exp leaves the normal
# numbers at -87.3, the subnormal ones at -103.97, and overflows at 88.72; tanh is 1 from 9.01 on
# and its argument is cut at 10.
WHOLE_RANGES = {"exp": (87.0, 104.5), "tanh": (8.5, 10.5)}
# Patterns to each side of the points where the reduction of the exponent goes to the next integer.
AROUND = 200
FLOAT64_SAMPLE = 20000


def exp(build, x):
    """The kernels' exp of a vector, which is left alone."""
    y = x.copy()
    build.exp(y)
    return y


def activated(build, name, x):
    """The kernels' activation of the rows of ``x``."""
    y = x.copy()
    build.activate(build.ACTIVATIONS[name], y)
    return y


def tanh(build, x):
    return activated(build, "tanh", x[None, :])[0]


def sigmoid(build, x):
    return activated(build, "sigmoid", x[None, :])[0]


OURS = {"exp": exp, "tanh": tanh, "sigmoid": sigmoid}
# For float32, float64 is truth enough.
TRUTH = {"exp": np.exp, "tanh": np.tanh, "sigmoid": reference.sigmoid}
WIDE_TRUTH = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


def ulps_of_float32(got, exact):
    """How many units in the last place of the rounded truth ``got`` is off.

    Infinity counts as 2**128, the number after the last. Among subnormal numbers and at zero the
    unit is the smallest number there is.
    """
    end, last = 2.0**128, np.nextafter(np.finfo(np.float32).max, np.float32(0))
    unit = np.spacing(np.minimum(np.abs(exact), last).astype(np.float32))
    got, exact = np.clip(got.astype(np.float64), -end, end), np.clip(exact, -end, end)
    return np.abs(got - exact) / unit


def worst_of_float32(name, patterns):
    """The greatest error over bit patterns. NaN must give NaN, and tanh keep the sign."""
    x = patterns.astype(np.uint32).view(np.float32)
    got = OURS[name](kernels.float32, x)
    # Signalling NaNs, and float64's own overflow far outside float32's range.
    with np.errstate(invalid="ignore", over="ignore"):
        exact = TRUTH[name](x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(x))
    numbers = ~np.isnan(x)
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(x[numbers]))
    return ulps_of_float32(got[numbers], exact[numbers]).max(initial=0)


def pattern(x):
    return int(np.float32(x).view(np.uint32))


def patterns_of_interest(name):
    """Stretches of float32 patterns, each with both signs."""
    low, high = WHOLE_RANGES[name]
    yield np.arange(pattern(low), pattern(high))
    # tanh x is made from e**2x.
    step = math.log(2) / (2 if name == "exp" else 4)
    least, infinity = pattern(np.finfo(np.float32).smallest_normal), pattern(np.inf)
    # tanh changes its formula at 0.625.
    centres = [0, least, infinity, pattern(0.625)]
    centres += [pattern(k * step) for k in range(1, int(high / step))]
    yield np.concatenate([np.arange(max(c - AROUND, 0), c + AROUND) for c in centres])


@pytest.mark.parametrize("name", ["exp", "tanh"])
def test_float32_where_something_changes(name):
    for stretch in patterns_of_interest(name):
        assert worst_of_float32(name, stretch) <= MOST_ULPS
        assert worst_of_float32(name, stretch + 2**31) <= MOST_ULPS


@pytest.mark.parametrize("name", ["exp", "tanh"])
def test_float32_everywhere(name):
    for start in range(0, 2**32, BLOCK * STRIDE):
        stretch = np.arange(start, min(start + BLOCK * STRIDE, 2**32), STRIDE)
        assert worst_of_float32(name, stretch) <= MOST_ULPS, f"patterns {start} to {stretch[-1]}"


def float64_sample(name):
    """Points all over, their neighbours where something changes, and the hardest of many."""
    info = np.finfo(np.float64)
    rng = np.random.default_rng(7)
    reach, step = (25, math.log(2) / 4) if name == "tanh" else (750, math.log(2) / 2)
    edges = np.concatenate(
        [
            [0.0, info.smallest_subnormal, info.smallest_normal, info.max / 2, 1.0],
            # exp: leaves the normal numbers, the subnormal ones; overflows; cut off
            [708.3964185322641, 745.1332191019412, 709.782712893384, 710.0, 746.0],
            # tanh: another formula; 1 from here on; cut off
            [0.625, 19.061547465398498, 20.0],
            step * np.arange(1, int(reach / step)),
        ]
    )
    edges = np.concatenate([np.nextafter(edges, 0), edges, np.nextafter(edges, np.inf)])
    n = FLOAT64_SAMPLE // 6
    # Small arguments, where results are sums that cancel: try many. Where NumPy's long double is
    # wider than float64 it tells which are worth a closer look; elsewhere any will do.
    many = 2 ** rng.uniform(-12, 1, 100 * n)
    truth = TRUTH[name](many.astype(np.longdouble))
    error = np.abs(OURS[name](kernels.float64, many) - truth) / np.spacing(truth.astype(np.float64))
    hardest = many[np.argsort(error)[-n:]]
    x = np.concatenate([edges, 10.0 ** rng.uniform(-320, 3, n), rng.uniform(0, reach, n), hardest])
    return np.concatenate([x, -x])


def ulps_of_float64(got, exact):
    """As for float32, of one number against one of mpmath's."""
    unit = np.spacing(min(abs(float(exact)), np.nextafter(np.finfo(np.float64).max, 0)))
    got = mpmath.mpf(2) ** 1024 if math.isinf(got) else mpmath.mpf(got)
    return float(abs(got - min(exact, mpmath.mpf(2) ** 1024)) / mpmath.mpf(float(unit)))


@pytest.mark.parametrize(
    ("name", "most"),
    [("exp", MOST_ULPS), ("tanh", MOST_ULPS), ("sigmoid", MOST_ULPS_OF_SIGMOID)],
)
def test_float64_against_multiple_precision(name, most):
    x = float64_sample(name)
    if name == "sigmoid":
        # Below, e**-z is no longer finite and the result 0.
        x = x[x > -700]
    got = OURS[name](kernels.float64, x)
    assert len(x) > FLOAT64_SAMPLE / 2
    with mpmath.workprec(200):
        worst = max(
            ulps_of_float64(float(y), WIDE_TRUTH[name](mpmath.mpf(float(at))))
            for at, y in zip(x, got, strict=True)
        )
    assert worst <= most
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(got), np.signbit(x))


def test_what_is_no_number_or_not_finite(dtype):
    build = kernels.of(dtype)
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(exp(build, x), [np.nan, np.nan, np.inf, 0, 1, 1])
    np.testing.assert_array_equal(tanh(build, x), [np.nan, np.nan, 1, -1, 0, 0])
    np.testing.assert_array_equal(sigmoid(build, x), [np.nan, np.nan, 1, 0, 0.5, 0.5])
    np.testing.assert_array_equal(np.signbit(tanh(build, x[4:])), [False, True])


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_a_number_s_result_does_not_depend_on_where_it_stands(dtype, name, rng):
    """Whole vectors and what is left over of a row are one formula."""
    build = kernels.of(dtype)
    n = 3 * build.TILE[1] + 1
    x = np.concatenate([rng.normal(0, 3, n - 6), [0, 100, -100, 800, -800, 1e-30]]).astype(dtype)
    alone = np.concatenate([OURS[name](build, x[i : i + 1]) for i in range(n)])
    for width in range(1, n + 1):
        np.testing.assert_array_equal(OURS[name](build, x[:width]), alone[:width])
        np.testing.assert_array_equal(OURS[name](build, x[-width:]), alone[-width:])


# ---- sigmoid


def test_sigmoid_of_float32():
    """To a bound of its own; where e**-z overflows, the truth is below the normal numbers."""
    low, high = pattern(0), pattern(87)
    for sign in (0, 2**31):
        stretch = np.arange(low, high, 1009) + sign
        assert worst_of_float32("sigmoid", stretch) <= MOST_ULPS_OF_SIGMOID
    x = np.linspace(-1e4, -87, 100001).astype(np.float32)
    error = np.abs(sigmoid(kernels.float32, x) - reference.sigmoid(x.astype(np.float64)))
    assert error.max() <= np.finfo(np.float32).smallest_normal


def test_sigmoid_and_tanh_saturate(dtype):
    build = kernels.of(dtype)
    z = np.array([-1e4, -1e3, -800, -110, 110, 800, 1e3, 1e4], dtype)
    np.testing.assert_allclose(sigmoid(build, z), [0, 0, 0, 0, 1, 1, 1, 1], atol=1e-45)
    np.testing.assert_array_equal(tanh(build, z), np.sign(z))


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_they_rise(dtype, name):
    """Over steps well above their error, and where they are flat at least within it."""
    x = np.linspace(-30, 30, 2001).astype(dtype)
    y = OURS[name](kernels.of(dtype), x)
    assert (np.diff(y) >= -MOST_ULPS * np.spacing(np.abs(y[1:]))).all()
    assert (np.diff(y[np.abs(x) < 3]) > 0).all()


# ---- relu, identity


def test_relu_and_identity_are_exact(dtype, rng):
    build = kernels.of(dtype)
    info = np.finfo(dtype)
    x = np.concatenate(
        [rng.normal(0, 1, 99), [info.max, info.min, info.smallest_subnormal, 0, -0.0, 1, -1]]
    ).astype(dtype)
    np.testing.assert_array_equal(activated(build, "relu", x[None, :])[0], np.maximum(x, 0))
    np.testing.assert_array_equal(activated(build, "relu", x[:, None])[:, 0], np.maximum(x, 0))
    np.testing.assert_array_equal(activated(build, "identity", x[None, :])[0], x)
    assert np.isnan(activated(build, "relu", np.full((1, 40), np.nan, dtype))).all()


# ---- softmax


@pytest.mark.parametrize("scale", [1e-3, 1, 30, 1e4])
def test_softmax(dtype, scale, rng):
    build = kernels.of(dtype)
    _, nr, vw = build.TILE
    eps = np.finfo(dtype).eps
    for width in (1, 2, vw - 1, vw, vw + 1, nr + 3, 1000):
        z = rng.uniform(-scale, scale, (50, width)).astype(dtype)
        a = activated(build, "softmax", z)
        assert np.isfinite(a).all()
        assert (a >= 0).all()
        sums = a.sum(axis=1, dtype=np.float64)
        assert np.abs(sums - 1).max() <= eps * math.sqrt(width)
        # z - max z is rounded, and exp passes on its absolute error.
        wanted = reference.softmax(z.astype(np.float64))
        assert np.abs(a - wanted).max() <= 4 * eps * math.sqrt(width)


def test_softmax_of_ties_and_extremes(dtype):
    build = kernels.of(dtype)
    z = np.array([[1e4, 1e4], [1e4, -1e4], [-1e4, -1e4], [0, 0]], dtype)
    wanted = [[0.5, 0.5], [1, 0], [0.5, 0.5], [0.5, 0.5]]
    np.testing.assert_array_equal(activated(build, "softmax", z), wanted)


def test_softmax_does_not_depend_on_the_rows_beside(dtype, rng):
    build = kernels.of(dtype)
    z = rng.normal(0, 5, (9, build.TILE[1] + 3)).astype(dtype)
    together = activated(build, "softmax", z)
    for row, a in itertools.zip_longest(z, together):
        np.testing.assert_array_equal(activated(build, "softmax", row[None, :])[0], a)
