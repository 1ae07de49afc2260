"""Finding a declaration by its name, with a helpful error when there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

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
