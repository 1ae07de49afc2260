"""Run the pairs, each in a process of its own, and print one table of ratios."""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import show_config
from .claims import CLAIMS
from .rivals import RIVALS
from .works import WORKS

Record = dict[str, Any]
"""What is known about one work with one rival: skipped, failed, or measured (see ``pairs``)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the works against the rivals, print the table and keep the raw numbers.

    Parameters
    ----------
    argv : sequence of str, optional
        Options as on the command line; by default those of the process.

    Returns
    -------
    int
        0, or 1 if a rival failed or reached another loss.
    """
    args = _parse(argv)
    config = header("pairs") | {"baseline": args.baseline, "threads": args.threads}
    rivals = [name for name in args.rivals if name != args.baseline]
    records: list[Record] = []

    def keep(record: Record, cell: str) -> None:
        records.append(record)
        print(f"{record['work']} / {record['rival']}: {cell}", file=sys.stderr, flush=True)
        if args.out:  # after every pair, so that an interrupted run leaves what it has
            save(args.out, config | {"records": records})

    for work in args.works:
        for rival in rivals:
            record = _run(work, rival, args.baseline, args.threads, args.pairs)
            keep({"work": work, "rival": rival} | record, cell(record))
    print(table(config, records))
    if args.claims:
        claims = len(records)
        for name in CLAIMS:
            if any(name.startswith(prefix) for prefix in args.claims):
                record = _run_claim(name, args.pairs)
                keep({"work": name, "rival": CLAIMS[name].rival} | record, cell(record))
        print(table_of_claims(records[claims:]))
    return int(any("failed" in r or r.get("same_loss") is False for r in records))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="fastmlp bench",
        description="How many times faster fastmlp trains than other libraries: the median ratio "
        "of interleaved pairs, with its 95 % interval.",
    )
    parser.add_argument("--works", nargs="*", choices=WORKS, default=list(WORKS), metavar="WORK")
    parser.add_argument(
        "--claims",
        nargs="+",
        default=[],
        metavar="PREFIX",
        help="also what else is claimed: predict, frozen, float64, 'two threads', default",
    )
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS), metavar="NAME")
    parser.add_argument("--baseline", choices=RIVALS, default="fastmlp", help="what is compared")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--pairs",
        type=int,
        help="undisturbed rounds wanted, at least 5; by default 30, or 8 where slow",
    )
    parser.add_argument("--out", type=Path, help="folder for the raw numbers, as JSON")
    return parser.parse_args(argv)


def _run(work: str, rival: str, baseline: str, n_threads: int, pairs: int | None) -> Record:
    """Measure one pair in a fresh process."""
    for name in (baseline, rival):
        if reason := RIVALS[name].missing():
            return {"skipped": reason}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "record.json")
        command = [sys.executable, "-P", "-m", "fastmlp.benchmarks.pairs"]
        command += ["--work", work, "--rival", rival, "--baseline", baseline]
        command += ["--threads", str(n_threads)]
        return in_process(command, n_threads, pairs, result)


def _run_claim(name: str, pairs: int | None) -> Record:
    """Measure one claim in a fresh process."""
    claim = CLAIMS[name]
    for package in (claim.package, "onnx" if claim.package else None):
        if package and importlib.util.find_spec(package) is None:
            return {"skipped": f"{package} is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "fastmlp.benchmarks.pairs", "--claim", name]
        return in_process(command, claim.threads, pairs, Path(folder, "record.json"))


def in_process(command: list[str], n_threads: int, pairs: int | None, result: Path) -> Record:
    """Run a command in a fresh process that writes its record to ``result``; return the record.

    It is bound to as many CPUs as ``n_threads``, every library held to so many threads, and gets
    ``--json`` and, where ``pairs`` is given, ``--pairs``.
    """
    command += ["--json", str(result), *(["--pairs", str(pairs)] if pairs else [])]
    done = subprocess.run(
        command,
        env=environment(n_threads),
        preexec_fn=lambda: pin(n_threads),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"exit status {done.returncode}: {last}", "stderr": done.stderr}
    record: Record = json.loads(result.read_text())
    return record


def environment(n_threads: int) -> dict[str, str]:
    """Return this process's environment with every library held to ``n_threads``."""
    owned = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH", "XLA_", "JAX_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(owned)}
    for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[key] = str(n_threads)
    # the same fastmlp as here, also where the current folder holds another one's source
    env["PYTHONPATH"] = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    env["JAX_PLATFORMS"] = "cpu"
    if n_threads == 1:
        # more threads than one JAX counts by the process's CPU affinity
        env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return env


def pin(n_threads: int) -> None:
    """Bind this process to so many CPUs; not the first ones, which serve interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n_threads:])


def header(kind: str) -> Record:
    """Return what every file of raw numbers begins with: what is in it, when and where measured."""
    return {
        "kind": kind,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "build": show_config(mode="dict"),
    }


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        cpu = models[0].split(":")[1].strip() if models else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def save(folder: Path, results: dict[str, Any]) -> None:
    """Write a run's raw numbers to a file named after its date."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = results["date"].replace(":", "").replace("+0000", "Z")
    path = folder / f"{stamp}-{results['threads']}-threads.json"
    path.write_text(json.dumps(results, indent=1) + "\n")


def table(config: dict[str, Any], records: list[Record]) -> str:
    """Return the table of ratios, its head with the machine, and its foot with the exceptions."""
    baseline = config["baseline"]
    rivals = list(dict.fromkeys(r["rival"] for r in records))
    rows = [["work", f"{baseline}, one epoch", *rivals]]
    for work in dict.fromkeys(r["work"] for r in records):
        cells = {r["rival"]: r for r in records if r["work"] == work}
        times = [r["seconds_per_epoch"] for r in cells.values() if r.get("ratio")]
        own = _duration(sorted(times)[len(times) // 2]) if times else "–"
        rows.append([work, own, *(cell(cells[rival]) for rival in rivals)])
    return "\n".join([*_head(config, records), "", *aligned(rows), "", *_foot(records)])


def table_of_claims(records: list[Record]) -> str:
    """Return the claims, each with its ratio beside its floor and its goal."""
    rows = [["claim", "against", "times faster", "floor", "goal"]]
    for r in records:
        limits = [f"{r[key]:g}" if key in r else "" for key in ("floor", "goal")]
        rows.append([r["work"], r["rival"], cell(r), *limits])
    return "\n".join([*aligned(rows), "", *_foot(records)])


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table whose first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return [lines[0], "  ".join("-" * w for w in widths), *lines[1:]]


def _head(config: dict[str, Any], records: list[Record]) -> list[str]:
    machine = config["machine"]
    measured = [r for r in records if "versions" in r]
    versions = {name: v for r in measured for name, v in r["versions"].items()}
    build = next((r["build"] for r in measured if "build" in r), None)
    return [
        f"Times faster than each library, training: {config['baseline']}'s advantage in time, "
        "median of pairs [95 % interval]",
        f"machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}",
        f"versions: Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        *([f"build: {json.dumps(build)}"] if build else []),
        f"threads: {config['threads']}",
        *sorted({f"data of {r['work']}: {r['data']}" for r in measured}),
    ]


def _foot(records: list[Record]) -> list[str]:
    lines = []
    for r in records:
        pair = f"{r['work']} / {r['rival']}"
        if "skipped" in r:
            lines.append(f"{pair}: skipped: {r['skipped']}")
        elif "failed" in r:
            lines.append(f"{pair}: FAILED: {r['failed']}")
        else:
            if not r.get("same_loss", True):
                lines.append(f"{pair}: LOSSES DIFFER, so no time counts: {r['losses']}")
            if r["dropped"]:
                lines.append(f"{pair}: {r['dropped']} of {len(r['rounds'])} rounds dropped")
    return lines


def cell(record: Record) -> str:
    """Return what a table shows of a record: the ratio with its interval, or why there is none."""
    if "skipped" in record:
        return "–"
    if "failed" in record:
        return "FAILED"
    if not record.get("same_loss", True):
        return "LOSSES DIFFER"
    if not record["ratio"]:
        return "too few rounds"
    return "{median:.3g} [{low:.3g}, {high:.3g}]".format(**record["ratio"])


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
