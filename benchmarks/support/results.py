"""Where the benchmarks leave their figures for the table, the picture and the history (`benchmarks.record`)."""

from __future__ import annotations

import json
import os
from pathlib import Path

#: `python -m benchmarks` sets it. A benchmark that runs alone leaves nothing.
VARIABLE = "QCORE_BENCH_RESULTS"


def save(name: str, figures: object) -> None:
    """Write the figures of a benchmark, if a folder for them is set."""
    folder = os.environ.get(VARIABLE)
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")


def load(folder: Path, name: str) -> object:
    """The figures of a benchmark; None if it has not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
