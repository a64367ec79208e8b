"""The result of a run: the verdict, its expectations, violations and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

from qcore.sim.world.services import Violation

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
