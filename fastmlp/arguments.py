"""Judging plain arguments: names, numbers and whole numbers, with a helpful error each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")


def find(argument: str, name: object, table: Mapping[str, T]) -> T:
    """Return ``table[name]``.

    Parameters
    ----------
    argument : str
        What the user calls the thing, for the error message.
    name : object
        The name to look up; anything but a known string is an error.
    table : Mapping
        The known names, aliases included.

    Raises
    ------
    ValueError
        If the name is unknown; the message suggests the nearest known one.
    TypeError
        If ``name`` is not a string.
    """
    known = ", ".join(sorted(table))
    if not isinstance(name, str):
        raise TypeError(
            f"{argument}: got {name!r} of type {type(name).__name__}, expected a name; "
            f"known are {known}"
        )
    if name in table:
        return table[name]
    import difflib  # here, where something went wrong: it costs more than the package's tables

    nearest = difflib.get_close_matches(name.lower(), table, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise ValueError(f"{argument}: unknown name {name!r}; {hint}Known are {known}")


def number(
    argument: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
) -> float:
    """Return a finite number of at least ``low`` (``above``: greater) and below ``high``.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        fits = False
    fits = fits and low <= value < high and not (above and value == low)
    if fits:
        return float(value)
    least = f" above {low:g}" if above else f" of at least {low:g}"
    most = "" if high == math.inf else f" and below {high:g}"
    expected = "a finite number" + (least if low > -math.inf else "") + most
    raise ValueError(f"{argument}: got {value!r}, expected {expected}")


def whole_number(argument: str, value: Any, low: int, high: float = math.inf) -> int:
    """Return a whole number of at least ``low`` and below ``high``.

    Raises
    ------
    ValueError
        If it is none.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= value < high:
        most = "" if high == math.inf else f" and below {high:,}"
        raise ValueError(
            f"{argument}: got {value!r}, expected a whole number of at least {low}{most}"
        )
    return int(value)


def flag(argument: str, value: Any) -> bool:
    """Return True or False.

    Raises
    ------
    TypeError
        If it is something else; NumPy's own will do.
    """
    # NumPy's bool by its name: this module needs nothing.
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise TypeError(f"{argument}: got {value!r}, expected True or False")


def sequence(argument: str, values: Any, what: str) -> list[Any]:
    """Return ``values`` as a list.

    Raises
    ------
    TypeError
        If they are not iterable.
    """
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{argument}: got {values!r}, expected a sequence of {what}") from None


def specification(argument: str, text: str) -> tuple[str, dict[str, float]]:
    """Return the name and the settings in a text such as ``"leaky_relu(slope=0.2)"``.

    Raises
    ------
    ValueError
        If it is not of that form.
    """
    name, bracket, rest = text.partition("(")
    if not bracket:
        return name, {}
    settings = {}
    for part in rest.removesuffix(")").split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*([-+.\w]+)\s*", part)
        try:
            if match is None or not rest.endswith(")"):
                raise ValueError
            settings[match[1]] = float(match[2])
        except ValueError:
            raise ValueError(
                f"{argument}: got {text!r}, expected a name and its settings as in "
                f"'leaky_relu(slope=0.2)'"
            ) from None
    return name, settings
