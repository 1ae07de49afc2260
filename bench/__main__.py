"""``python -m bench``: the table of claims, its raw numbers kept in ``bench/results``."""

import sys
from pathlib import Path

from fastmlp.benchmarks import main

RESULTS = Path(__file__).parent / "results"

sys.exit(main(["--out", str(RESULTS), *sys.argv[1:]]))
