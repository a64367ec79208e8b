"""The result of a run: the verdict, its expectations, violations and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import TypeAlias

from qcore.html_table import html_table
from qcore.sim.world.services import Violation

#: The most violations that a notebook shows.
_SHOWN_VIOLATIONS = 10

#: The values that `json.dumps` accepts.
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


@dataclass(slots=True, frozen=True)
class Expectation:
    """One judged expectation. `expected` and `seen` are short texts for humans."""

    name: str
    ok: bool
    expected: str
    seen: str


@dataclass(slots=True, frozen=True, repr=False)
class RunResult:
    """The verdict on one run of one scenario.

    Attributes:
        scenario, seed: the scenario and seed of the run.
        ok: whether every expectation holds.
        violations: violated safety properties, in the order in which they were found.
        expectations: all that were judged; `every_fault_acted` and `work_done` are always among them.
        metrics: numbers about the run; see docs/scenarios.md.
        trace_sha256: the hash of the trace, the same for the same scenario and seed everywhere.
        replay: the command that repeats the run.
    """

    scenario: str
    seed: int
    ok: bool
    violations: tuple[Violation, ...]
    expectations: tuple[Expectation, ...]
    metrics: Mapping[str, Json]
    trace_sha256: str
    replay: str

    def __repr__(self) -> str:
        failed = ", ".join(expectation.name for expectation in self.failed())
        verdict = "passed" if self.ok else f"failed: {failed}; replay with: {self.replay}"
        return f"RunResult({self.scenario!r}, seed {self.seed}, {verdict})"

    def _repr_html_(self) -> str:
        """The verdict for notebooks: expectations and violations as tables."""
        title = f"{'PASS' if self.ok else 'FAIL'} {self.scenario} seed {self.seed}"
        marks = [
            ("ok" if each.ok else "FAILED", each.name, each.expected, each.seen)
            for each in self.expectations
        ]
        parts = [html_table(("", "expectation", "expected", "seen"), marks, title)]
        if self.violations:
            shown = [
                (each.check, each.node or None, f"{each.t_us / 1000:.3f}", each.note)
                for each in self.violations[:_SHOWN_VIOLATIONS]
            ]
            more = max(len(self.violations) - _SHOWN_VIOLATIONS, 0)
            columns = ("violated check", "node", "ms", "note")
            parts.append(html_table(columns, shown, more=more))
        return "".join([*parts, f"<p>replay: <code>{escape(self.replay)}</code></p>"])

    def to_json(self) -> dict[str, Json]:
        """The object that `qcore sim run -o json` prints."""
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "ok": self.ok,
            "trace_sha256": self.trace_sha256,
            "violations": [asdict(violation) for violation in self.violations],
            "expectations": [asdict(expectation) for expectation in self.expectations],
            "metrics": dict(self.metrics),
            "replay": self.replay,
        }

    def failed(self) -> list[Expectation]:
        """The expectations that do not hold."""
        return [expectation for expectation in self.expectations if not expectation.ok]
