"""The history of the main figures: a line of JSON for each recorded run, which only grows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

HISTORY = Path(__file__).with_name("history.jsonl")


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run.

    Attributes:
        when: its time, UTC.
        commit: what was measured.
        python: the version of Python.
        optimised: whether Python was built with PGO.
        compiled: whether qcore was compiled.
        machine: the kind of processor, and how many cores.
        load: the load average of the 15 minutes before its end.
        figures: name -> value; more is better, except for times.
    """

    when: str
    commit: str
    python: str
    optimised: bool
    compiled: bool
    machine: str
    load: float
    figures: dict[str, float] = field(default_factory=dict)


def read(path: Path) -> list[Run]:
    """All runs, the oldest first. Empty if there is no history."""
    if not path.exists():
        return []
    return [Run(**json.loads(line)) for line in path.read_text().splitlines() if line]


def append(path: Path, run: Run) -> None:
    """Add a run at the end."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(run), ensure_ascii=False) + "\n")
