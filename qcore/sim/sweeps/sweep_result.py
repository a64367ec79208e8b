"""`SweepResult`: one row for each variation, and the failures grouped by cause."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qcore.display import truncate
from qcore.html_table import html_table
from qcore.sim.sweeps.executors.run_jobs import Outcome
from qcore.sim.sweeps.failure_groups import FailureGroup, yaml_text
from qcore.sim.verdict.result import Json

#: The most characters of the text of a cause that a table shows.
_MAX_TEXT: Final = 160


@dataclass(slots=True)
class SweepRow:
    """What became of the seeds of one variation of a scenario.

    Attributes:
        scenario: the name of the scenario.
        values: the varied values, by path.
        runs: how many runs there were.
        failures: how many of them failed.
        causes: the key of each cause -> how many failed because of it.
        cached: how many outcomes came from the cache.
        seconds: how long all other runs took, one after the other.
        cpu_s: the processor time that they took.
        seeds_per_s: how many seeds a second all workers together ran; None if all came from the cache.
    """

    scenario: str
    values: Mapping[str, Json]
    runs: int = 0
    failures: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    seeds_per_s: float | None = None

    def add(self, outcome: Outcome, *, from_cache: bool, workers: int) -> None:
        """Count a run."""
        self.runs += 1
        if outcome.cause is not None:
            self.failures += 1
            self.causes[outcome.cause.key] += 1
        if from_cache:
            self.cached += 1
            return
        self.seconds += outcome.seconds
        self.cpu_s += outcome.cpu_s
        if self.seconds > 0:
            self.seeds_per_s = (self.runs - self.cached) * workers / self.seconds

    def to_json(self) -> dict[str, Json]:
        """The row as JSON."""
        rate = self.seeds_per_s
        return {
            "scenario": self.scenario,
            "values": dict(self.values),
            "runs": self.runs,
            "failures": self.failures,
            "causes": dict(self.causes),
            "cached": self.cached,
            "seeds_per_s": None if rate is None else round(rate, 2),
            "cpu_s": round(self.cpu_s, 3),
        }


@dataclass(slots=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        rows: one for each variation of each scenario, in the order in which they were given.
        failures: the groups of failures, in the order in which they were found.
        seconds: how long the sweep took.
        workers: how many processes ran it.
        interrupted: whether it was stopped before its end; then the rows hold the runs until then.
    """

    rows: Sequence[SweepRow]
    failures: Sequence[FailureGroup]
    seconds: float
    workers: int
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether no run failed."""
        return not self.failures

    @property
    def runs(self) -> int:
        """How many runs there were."""
        return sum(row.runs for row in self.rows)

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim sweep -o json` prints."""
        return {
            "ok": self.ok,
            "runs": self.runs,
            "failed": sum(row.failures for row in self.rows),
            "seconds": round(self.seconds, 3),
            "workers": self.workers,
            "interrupted": self.interrupted,
            "rows": [row.to_json() for row in self.rows],
            "failures": [group.to_json() for group in self.failures],
        }

    def flat_rows(self) -> list[dict[str, str | int | float | None]]:
        """The rows without nested values: a column for each varied value, and the causes as one text."""
        return [
            {
                "scenario": row.scenario,
                **{name: yaml_text(value) for name, value in row.values.items()},
                "runs": row.runs,
                "failures": row.failures,
                "seeds_per_s": None if row.seeds_per_s is None else round(row.seeds_per_s, 1),
                "causes": ", ".join(f"{key} {count}" for key, count in row.causes.most_common()),
            }
            for row in self.rows
        ]

    def table(self) -> str:
        """The result for people: the rows, the groups of failures, and what to type next."""
        columns = list(self.flat_rows()[0]) if self.rows else []
        cells = [[_cell(row[name]) for name in columns] for row in self.flat_rows()]
        lines = _aligned([[_title(name) for name in columns], *cells])
        for group in self.failures:
            lines += ["", *_block(group)]
        if self.interrupted:
            lines += ["", "interrupted: the table shows the runs until then"]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """The tables as Jupyter shows them."""
        rows = self.flat_rows()
        parts = [html_table(list(rows[0]) if rows else [], map(_values, rows))]
        for group in self.failures:
            title, *lines = _block(group)
            shown = "<br>".join(html.escape(line) for line in lines)
            parts.append(f"<p><b>{html.escape(title)}</b><br>{shown}</p>")
        return "".join(parts)


def _block(group: FailureGroup) -> list[str]:
    """The lines of a group of failures."""
    values = [f"{name}={yaml_text(value)}" for name, value in group.values.items()]
    runs = f"{group.count} run{'' if group.count == 1 else 's'}"
    seeds = ", ".join(map(str, group.seeds)) + (", ..." if group.count > len(group.seeds) else "")
    facts = {
        "seeds": seeds,
        "first": truncate(group.cause.text, _MAX_TEXT),
        "saved": ", ".join(map(str, group.artifacts)),
        "note": group.note,
        "next": group.command,
    }
    title = " ".join([group.cause.key, "failed", runs, "of", group.scenario, *values])
    return [title, *(f"  {name:5}  {text}" for name, text in facts.items() if text)]


def _values(row: Mapping[str, str | int | float | None]) -> list[str]:
    return [_cell(value) for value in row.values()]


def _cell(value: str | float | None) -> str:
    return "-" if value is None or value == "" else str(value)


def _title(column: str) -> str:
    return {"seeds_per_s": "SEEDS/S"}.get(column, column.upper() if "." not in column else column)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
