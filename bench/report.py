"""``python -m bench.report``: RESULTS.md from the newest raw numbers of each kind in ``results``.

Nothing is measured here. What stands in RESULTS.md can be worked out again from the files it names.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.benchmarks.pairs import median_interval
from fastmlp.benchmarks.runner import cell
from fastmlp.benchmarks.works import WORKS

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"


def newest(results: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return one record for each pair and number of threads: the last that was measured."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, result in results:
        for record in result["records"]:
            source = {"file": name, "machine": result["machine"], "threads": result["threads"]}
            found[record["work"], record["rival"], result["threads"]] = source | record
    return list(found.values())


def markdown(rows: list[list[str]]) -> list[str]:
    """Return a table; the first row is its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:], ""]


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


def products(results: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return a table for each build and element type that was measured."""
    lines = []
    for name, result in results:
        config = result["config"]
        lines += [f"Build {config['variant']}, {result['dtype']}, beside NumPy {config['numpy']} "]
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


def main() -> None:
    """Write RESULTS.md."""
    found = [(path.name, json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))]
    pairs = newest([(name, result) for name, result in found if "machine" in result])
    machines = sorted({f"{r['machine']['cpu']}, {r['machine']['cores']} cores" for r in pairs})
    files = sorted({r["file"] for r in pairs})
    versions = {k: v for r in pairs for k, v in r.get("versions", {}).items()}
    builds = sorted({r["build"]["variant"] for r in pairs if "build" in r})
    lines = [
        "# Results",
        "",
        "Made by `python -m bench.report` from the raw numbers in [results](results): "
        + ", ".join(f"`{name}`" for name in files)
        + ". How they are measured: [README.md](README.md).",
        "",
        f"Machine: {'; '.join(machines)}. Build: {', '.join(builds)}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "",
        "Every figure is how many times faster fastmlp is: the median of interleaved pairs, with "
        "its bootstrap 95 % interval. A round whose control is more than 5 % off is dropped.",
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
        "## Matrix products, one thread",
        "",
        "Operations a second, as a share of what `peak.c` reaches with the same instructions in "
        "the same round. Ours contain all that training needs: gathering, packing, copying.",
        "",
        *products([(name, result) for name, result in found if "dtype" in result]),
    ]
    (FOLDER / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
