"""Draws docs/sklearn_speed.png, the times beside scikit-learn: ``python docs/sklearn_speed.py``.

From bench/results/estimators.json, which ``python -m bench.estimators`` writes.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

HERE = Path(__file__).parent
RESULT = HERE.parent / "bench" / "results" / "estimators.json"


def speed(result: dict[str, Any]) -> Figure:
    """Draw the ratio of each case beside scikit-learn's, with its interval."""
    found = [r for r in result["records"] if r["rival"] == "scikit-learn" and r.get("ratio")]
    names = [r["work"] for r in found]
    median, low, high = ([r["ratio"][key] for r in found] for key in ("median", "low", "high"))
    figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(found)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, median, color="tab:blue", alpha=0.8)
    ends = [[m - at for m, at in zip(median, low, strict=True)]]
    ends += [[at - m for m, at in zip(median, high, strict=True)]]
    axes.errorbar(median, names, xerr=ends, fmt="none", ecolor="black", capsize=2)
    for row, (m, at) in enumerate(zip(median, high, strict=True)):
        axes.text(1.05 * at, row, f"{m:.3g}", va="center", fontsize="small")
    axes.axvline(1, color="black", linewidth=1, linestyle=":")
    axes.set(xlabel="times faster than scikit-learn", xscale="log", xlim=(0.8, 1.6 * max(high)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([1, 2, 5, 10, 20], minor=False)
    axes.minorticks_off()
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    return figure


def main() -> None:
    """Draw what was measured last."""
    figure = speed(json.loads(RESULT.read_text()))
    figure.savefig(HERE / "sklearn_speed.png", dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
