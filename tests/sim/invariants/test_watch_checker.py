"""The checker of watches notices every planted fault; `watchers_complete` notices a watch that falls silent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from qcore.machines.interface import ApplyContext, Change, TopicChange
from qcore.machines.register import RegisterMachine
from qcore.replica.watches.watch_table import Watches
from qcore.sim import RunResult, run_scenario
from qcore.sim.workload.operation_history import OperationHistory
from tests.sim.support import planted_watch_faults as faults
from tests.sim.support.planted_watch_faults import Planted, plant
from tests.sim.support.scenario_texts import failures, run, scenario

_TIMELINE = "[{at_ms: 1200, crash: leader, for_ms: 400}]"
_WORKLOAD = "{clients: 2, rate_per_s: 100, cas_fraction: 0.0, keys: 2, watchers: {count: 4, move_every_ms: 400}}"


def _run(seed: int = 1, expect: str = "{safe: true, watchers_complete: true}") -> RunResult:
    return run(_TIMELINE, expect, seed, workload=_WORKLOAD, until_ms="3000")


def test_without_a_fault_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, Planted)
    for seed in (1, 2, 3):
        result = _run(seed)
        assert result.ok, (seed, failures(result), result.violations)


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (faults.SkipsOnResume, "is missing"),
        (faults.RepeatsOnResume, "twice, or out of order"),
        (faults.RepeatsAfterSnapshot, "twice, or out of order"),
        (faults.Reorders, "is missing"),
        (faults.Reorders, "twice, or out of order"),
        (faults.LosesAtFailover, "is missing"),
        (faults.SendsUncommitted, "which is not committed"),
        (faults.ChangesText, "expected"),
        (faults.BeginsTooEarly, "was acknowledged or seen before the request"),
        (faults.ResumesTooLate, "whose answer says"),
        (faults.CompactsWithoutNeed, "and that it has those from index 1 on"),
        (faults.IgnoresTheEnd, "which had ended"),
    ],
)
def test_a_planted_fault_is_noticed_and_explained(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[], Planted], note: str
) -> None:
    plant(monkeypatch, fault)
    result = _run(expect="{violation: watches}")
    assert result.ok, failures(result)
    assert {violation.check for violation in result.violations} == {"watches"}
    noted = [violation for violation in result.violations if note in violation.note]
    assert noted, result.violations
    assert all(violation.node in (1, 2, 3) for violation in noted)
    assert len(result.violations) <= 20


def test_a_watch_must_not_begin_before_what_another_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if no client knows the outcome of its write, because all responses are lost."""
    plant(monkeypatch, faults.BeginsTooEarly)
    monkeypatch.setattr(OperationHistory, "highest_acknowledged", 0)
    result = run(
        "[]",
        "{violation: watches}",
        cluster="{nodes: 3, watch_history_changes: 5}",
        workload=_WORKLOAD,
        until_ms="2500",
    )
    assert result.ok, failures(result)
    assert "acknowledged or seen before" in "".join(found.note for found in result.violations)


def test_a_watch_that_falls_silent_is_not_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, faults.FallsSilent)
    result = run("[]", "{watchers_complete: true}", workload="{clients: 2, watchers: 2}")
    assert [expectation.name for expectation in result.failed()] == ["safe", "watchers_complete"]
    assert "lacks" in result.failed()[1].seen
    assert all("ms after it applied" in violation.note for violation in result.violations)


class OddMachine(RegisterMachine):
    """Reports two changes of topic `all` for each command. The second that applies one adds a space to each text."""

    name = "odd"
    lives: ClassVar[list[OddMachine]] = []
    space: ClassVar[str] = " "

    def __init__(self) -> None:
        super().__init__()
        self._changes: list[TopicChange] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        if not self._changes:
            self.lives.append(self)
        is_second = len(self.lives) > 1 and self is self.lives[1]
        text = result + self.space if is_second else result
        self._changes = [TopicChange(("all",), text), TopicChange(("all", "more"), text)]
        return result

    def last_changes(self) -> Sequence[Change]:
        return self._changes


def _run_odd_machine(monkeypatch: pytest.MonkeyPatch, space: str, expect: str) -> RunResult:
    monkeypatch.setattr(OddMachine, "lives", [])
    monkeypatch.setattr(OddMachine, "space", space)
    watchers = "{count: 4, topics: [all, more], move_every_ms: 400}"
    return run_scenario(
        scenario(
            _TIMELINE,
            expect,
            # The machine counts its objects in a class attribute, which the check of determinism would find.
            cluster="{nodes: 3, check_determinism: false}",
            workload=f"{{clients: 2, watchers: {watchers}}}",
        ),
        machine=OddMachine,
        requests=lambda rng: ("write", f'{{"op":"set","key":"a","value":{rng.randrange(9)}}}'),
    )


def test_different_changes_on_one_node_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _run_odd_machine(monkeypatch, " ", "{violation: watches}")
    assert result.ok, failures(result)
    assert "reports other changes" in result.violations[0].note


def test_two_changes_of_a_command_both_come(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _run_odd_machine(monkeypatch, "", "{watchers_complete: true, watches_resumed: '>= 1'}")
    assert result.ok, (failures(result), result.violations)


def test_a_node_that_sends_nothing_to_live_watches_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although each watcher moves, resumes elsewhere, and gets everything there in the end."""
    monkeypatch.setattr(Watches, "_notify_live", lambda watches, index, changes: 0)
    workload = _WORKLOAD.replace("move_every_ms: 400", "move_every_ms: 1500")
    result = run("[]", "{violation: watches}", workload=workload, until_ms="4000")
    assert result.ok, failures(result)
    assert "ms after it applied the command" in result.violations[0].note
