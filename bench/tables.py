"""Tables of what was measured: printed by the programs, written to RESULTS.md by the report."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from fastmlp.benchmarks.pairs import Round, undisturbed
from fastmlp.benchmarks.runner import aligned


class Table(NamedTuple):
    """A table with what it shows; the first row is its head.

    Parameters
    ----------
    title : str
        A sentence without its full stop.
    rows : list of list of str
    notes : list of str
        Sentences that belong below.
    """

    title: str
    rows: list[list[str]]
    notes: list[str]

    def text(self) -> str:
        """Return the table for a terminal."""
        return "\n".join([f"{self.title}.", "", *aligned(self.rows), "", *self.notes, ""])

    def markdown(self) -> list[str]:
        """Return the lines of the table for a page, an empty one at their end."""
        return [f"{self.title}.", "", *markdown(self.rows), " ".join(self.notes), ""]


def markdown(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table whose first row is its head, and an empty one."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""]


def counted(rounds: list[Round]) -> str:
    """Return how many rounds were kept, and how many dropped."""
    n = int(undisturbed(rounds).sum())
    return f"{n} / {len(rounds) - n}"


def publish(result: dict[str, Any], tables: list[Table], path: Path | None) -> None:
    """Print the tables, and keep the raw numbers in the file ``path`` where there is one."""
    print("\n".join(table.text() for table in tables))
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")
