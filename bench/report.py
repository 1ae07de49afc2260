"""``python -m bench.report``: RESULTS.md and its plots, from the raw numbers in ``results``.

Nothing is measured here. What stands in RESULTS.md can be worked out again from the files it names.
Each file says in ``kind`` what it holds; of measurements made twice, the later one counts, unless
too few of its rounds were undisturbed.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import coexistence, cold_start, estimators, growth, memory, roofline, second_order
from bench.tables import markdown
from fastmlp.benchmarks.claims import CLAIMS, WIDTHS
from fastmlp.benchmarks.pairs import interval, median_interval
from fastmlp.benchmarks.runner import cell
from fastmlp.benchmarks.works import WORKS

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"

Results: TypeAlias = list[tuple[str, dict[str, Any]]]
"""What files hold, each with the file's name, oldest first."""

PROGRAMS = {
    "roofline": (roofline, "The roofline"),
    "growth": (growth, "How the cost grows with the work"),
    "cold start": (cold_start, "Cold start"),
    "memory": (memory, "Memory of training"),
    "coexistence": (coexistence, "Beside other packages"),
    "second order": (second_order, "Levenberg-Marquardt"),
    "estimators": (estimators, "Beside scikit-learn's estimators"),
}
"""By kind: the program whose ``tables`` show its numbers, and the section they belong to."""


def load(folder: Path) -> dict[str, Results]:
    """Return what the files in a folder hold, by kind."""
    found = [(path.name, json.loads(path.read_text())) for path in folder.glob("*.json")]
    by_kind = defaultdict(list)
    for name, result in sorted(found, key=lambda item: item[1]["date"]):
        by_kind[result["kind"]].append((name, result))
    return by_kind


def newest(results: Results) -> list[dict[str, Any]]:
    """Return one record for each pair and number of threads: the last that gave a ratio, if any."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, result in results:
        for record in result["records"]:
            source = {"file": name, "machine": result["machine"], "threads": result["threads"]}
            pair = record["work"], record["rival"], result["threads"]
            if record.get("ratio") or not found.get(pair, {}).get("ratio"):
                found[pair] = source | record
    return list(found.values())


def training(records: list[dict[str, Any]], threads: int) -> list[str]:
    """Return the table of the works that were trained on so many threads."""
    records = [r for r in records if r["work"] in WORKS and r["threads"] == threads]
    rivals = list(dict.fromkeys(r["rival"] for r in records))
    rows = [["work", *rivals, "rounds kept / dropped"]]
    for work in (name for name in WORKS if any(r["work"] == name for r in records)):
        of_work = {r["rival"]: r for r in records if r["work"] == work}
        kept = [f"{r['kept']} / {r['dropped']}" for r in of_work.values() if "kept" in r]
        cells = [cell(of_work[rival]) if rival in of_work else "" for rival in rivals]
        rows.append([work, *cells, ", ".join(kept)])
    return markdown(rows) if len(rows) > 1 else ["Not measured.", ""]


def claims(records: list[dict[str, Any]]) -> list[str]:
    """Return the table of everything else that is claimed."""
    rows = [["claim", "against", "times faster", "floor", "goal", "rounds kept / dropped"]]
    for r in records:
        if r["work"] not in WORKS:
            kept = f"{r['kept']} / {r['dropped']}" if "kept" in r else ""
            limits = [f"{r[key]:g}" if key in r else "" for key in ("floor", "goal")]
            rows.append([r["work"], r["rival"], cell(r), *limits, kept])
    return markdown(rows) if len(rows) > 1 else ["Not measured.", ""]


def products(results: Results) -> list[str]:
    """Return a table for each build and element type that was measured."""
    lines = []
    for name, result in results:
        build = result["build"]
        lines += [f"Build {build['variant']}, {result['dtype']}, beside NumPy {build['numpy']} "]
        lines[-1] += f"with OpenBLAS's core type {result['coretype']} (`{name}`):"
        rows = [["rows x n_in x n_out", "product", "of the peak", "x NumPy"]]
        for record in result["records"]:
            rates = np.array(record["rates"])
            ratios = (
                median_interval(rates[:, 1] / rates[:, 0]),
                median_interval(rates[:, 1] / rates[:, 2]),
            )
            cells = ["{:.2f} [{:.2f}, {:.2f}]".format(*ratio) for ratio in ratios]
            rows.append([" x ".join(map(str, record["shape"])), record["product"], *cells])
        lines += ["", *markdown(rows)]
    return lines or ["Not measured.", ""]


def measured(found: dict[str, Results], kind: str) -> list[str]:
    """Return the tables of the latest result of a program."""
    if kind not in found:
        return ["Not measured.", ""]
    name, result = found[kind][-1]
    tables = PROGRAMS[kind][0].tables(result)
    return [f"From `{name}`.", "", *(line for table in tables for line in table.markdown())]


def limits(records: list[dict[str, Any]], roofs: dict[str, Any]) -> list[str]:
    """Return what each ratio of one thread would be if we took no more than the least time."""
    rows = [["work", "against", "times faster", "of the roofline", "times faster at the roofline"]]
    for r in records:
        roof = roofs["records"].get(r["work"])
        share = interval(roofline.shares(roof)) if roof else None
        if r["threads"] == 1 and r.get("ratio") and share:
            at_most = r["ratio"]["median"] / share["median"]
            numbers = r["ratio"]["median"], share["median"], at_most
            rows.append([r["work"], r["rival"], *(f"{number:.3g}" for number in numbers)])
    return markdown(rows) if len(rows) > 1 else []


def plot_growth(result: dict[str, Any]) -> Figure:
    """Draw the cost per row and per multiply-add, each beside that of the least size."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = growth.costs_of_rows(result["by_rows"])
    least = next(iter(rows.values()))
    _line(left, rows, [interval(cost / least) for cost in rows.values()], "an epoch")
    left.set(xlabel="rows", ylabel="time per row, relative", xscale="log")
    parts = growth.costs_of_widths(result["by_width"])
    least = next(iter(parts["training"].values()))
    for part, costs in parts.items():
        _line(right, costs, [interval(cost / least) for cost in costs.values()], part)
    right.set(xlabel="width", ylabel="time per multiply-add, relative")
    right.set_xscale("log", base=2)
    _finish(left, right)
    return figure


def plot_threads(records: list[dict[str, Any]]) -> Figure | None:
    """Draw the times of one and two threads beside the default's, by width; None without any."""
    found = {r["work"]: r for r in records}
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for n, label in ((1, "one thread"), (2, "two threads")):
        names = {width: f"default threads 10-{width}-{width}-10, {n}" for width in WIDTHS}
        _line(axes, names, [found.get(name, {}).get("ratio") for name in names.values()], label)
    if not axes.containers:
        return None
    floor = CLAIMS[names[WIDTHS[0]]].floor
    axes.axhline(1, color="black", linewidth=1, label="the default")
    axes.axhline(floor, color="black", linewidth=1, linestyle=":", label="the floor")
    axes.set(xlabel="w of a network 10-w-w-10", ylabel="time, the default's = 1")
    axes.set_xscale("log", base=2)
    _finish(axes)
    return figure


def _line(
    axes: Axes, sizes: Iterable[Any], intervals: list[dict[str, float] | None], label: str
) -> None:
    """Draw the medians that are known, with their intervals."""
    points = [(int(size), i) for size, i in zip(sizes, intervals, strict=True) if i]
    if points:
        x = [size for size, _ in points]
        median, low, high = ([i[key] for _, i in points] for key in ("median", "low", "high"))
        errors = [np.subtract(median, low), np.subtract(high, median)]
        axes.errorbar(x, median, errors, marker="o", markersize=4, capsize=2, label=label)


def _finish(*all_axes: Axes) -> None:
    for axes in all_axes:
        axes.margins(y=0.15)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)


def write(results: Path, out: Path) -> None:
    """Write RESULTS.md and its plots.

    Parameters
    ----------
    results : Path
        The folder of the raw numbers.
    out : Path
        The folder to write to.
    """
    found = load(results)
    pairs = newest(found["pairs"])
    plots = {"threads.png": plot_threads(pairs)}
    if "growth" in found:
        plots["growth.png"] = plot_growth(found["growth"][-1][1])
    drawn = {name: figure for name, figure in plots.items() if figure is not None}
    for name, figure in drawn.items():
        figure.savefig(out / name, dpi=100, metadata={"Software": None})
    (out / "RESULTS.md").write_text("\n".join(page(found, pairs, set(drawn))).rstrip() + "\n")


def page(found: dict[str, Results], pairs: list[dict[str, Any]], plots: set[str]) -> list[str]:
    """Return the lines of RESULTS.md."""
    every = [result for results in found.values() for _, result in results]
    machines = sorted({f"{r['machine']['cpu']}, {r['machine']['cores']} cores" for r in every})
    files = sorted({r["file"] for r in pairs})
    versions = {name: v for r in pairs for name, v in r.get("versions", {}).items()}
    builds = sorted({r["build"]["variant"] for r in pairs if "build" in r})
    lines = [
        "# Results",
        "",
        "Made by `python -m bench.report` from the raw numbers in [results](results): "
        + ", ".join(f"`{name}`" for name in files)
        + ", and those named below. How they are measured: [README.md](README.md).",
        "",
        f"Machine: {'; '.join(machines)}. Build: {', '.join(builds)}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "",
        "Every time is a median of interleaved rounds, with its bootstrap 95 % interval; of "
        "pairs, how many times faster fastmlp is. A round whose control is more than 5 % off is "
        "dropped.",
        "",
        "## Training, one thread",
        "",
        *training(pairs, 1),
        "## Training, two threads",
        "",
        *training(pairs, 2),
        "## Prediction, float64, threads",
        "",
        *claims(pairs),
        *image("threads.png", "Times of one and two threads beside the default's", plots),
        "## Matrix products, one thread",
        "",
        "Operations a second, as a share of what `peak.c` reaches with the same instructions in "
        "the same round. Ours contain all that training needs: gathering, packing, copying.",
        "",
        *products(found["products"]),
    ]
    for kind, (_, heading) in PROGRAMS.items():
        lines += [f"## {heading}", "", *measured(found, kind)]
        if kind == "roofline" and kind in found:
            lines += limits(pairs, found[kind][-1][1])
        if kind == "growth":
            lines += image("growth.png", "Time per row and per multiply-add", plots)
    return lines


def image(name: str, text: str, plots: set[str]) -> list[str]:
    """Return the lines that show a plot, if it was drawn."""
    return [f"![{text}]({name})", ""] if name in plots else []


if __name__ == "__main__":
    write(RESULTS, FOLDER)
