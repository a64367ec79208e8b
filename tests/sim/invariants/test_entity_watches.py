"""Watches of the entity store in the simulator: faults planted in the replica's watch code, and filters that fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from qcore.errors import BadRequest
from qcore.machines.interface import ApplyContext, Change, TopicChange, WatchFilter
from qcore.machines.register import RegisterMachine
from qcore.replica.watches.change_history import LAST_SEQUENCE, ChangeHistory
from qcore.replica.watches.watch_table import Watches
from qcore.sim import RunResult, run_scenario
from tests.sim.support import planted_watch_faults as faults
from tests.sim.support.planted_watch_faults import Planted, plant
from tests.sim.support.scenario_texts import failures, run, scenario

_CLUSTER = "{nodes: 3, machine: entity, snapshot_entries: 30, keep_entries: 5}"
_TIMELINE = (
    "[{at_ms: 1000, isolate: follower_1, for_ms: 1200}, {at_ms: 2400, crash: leader, for_ms: 400}]"
)
_WATCHERS = "{count: 6, topics: [k0, k1, Register], move_every_ms: 400}"
_WORKLOAD = f"{{clients: 2, rate_per_s: 100, read_fraction: 0.2, keys: 2, watchers: {_WATCHERS}}}"


def _run(
    seed: int = 1, expect: str = "{violation: watches}", workload: str = _WORKLOAD
) -> RunResult:
    return run(_TIMELINE, expect, seed, cluster=_CLUSTER, workload=workload, until_ms="3300")


def _notes(result: RunResult) -> str:
    assert result.ok, failures(result)
    assert {violation.check for violation in result.violations} == {"watches"}
    return "\n".join(violation.note for violation in result.violations)


def test_watchers_see_all_through_failover_and_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch, Planted)
    for seed in (1, 2):
        result = _run(
            seed,
            "{safe: true, watchers_complete: true, notices: '>= 100', watches_resumed: '>= 10',"
            " snapshots_installed: '>= 1', watches_compacted: '>= 1'}",
        )
        assert result.ok, (seed, failures(result), result.violations)


@pytest.mark.parametrize(
    ("fault", "note"),
    [
        (faults.SkipsOnResume, "is missing"),
        (faults.RepeatsOnResume, "twice, or out of order"),
        (faults.RepeatsAfterSnapshot, "twice, or out of order"),
        (faults.Reorders, "twice, or out of order"),
        (faults.LosesAtFailover, "is missing"),
        (faults.ChangesText, "expected"),
        (faults.ShowsOldContext, "expected"),
        (faults.CompactsTheFuture, "which is not committed"),
    ],
)
def test_a_planted_fault_is_noticed(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[], Planted], note: str
) -> None:
    plant(monkeypatch, fault)
    assert note in _notes(_run())


def test_a_change_that_live_watches_skip_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    notify = Watches._notify_live

    def skip_some(watches: Watches, index: int, changes: Sequence[Change]) -> int:
        return notify(watches, index, changes) if index % 7 else 0

    monkeypatch.setattr(Watches, "_notify_live", skip_some)
    assert "is missing" in _notes(_run())


def test_changes_that_a_snapshot_skips_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history claims, after an installed snapshot, that it still has the changes from before."""
    reset = ChangeHistory.reset

    def forget_the_gap(history: ChangeHistory, index: int) -> None:
        reset(history, index)
        history._dropped = (0, LAST_SEQUENCE)

    monkeypatch.setattr(ChangeHistory, "reset", forget_the_gap)
    assert "is missing" in _notes(_run())


def test_a_watch_that_goes_on_through_a_snapshot_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A snapshot ends no watch, so a watch at the node that installs it skips what the snapshot holds."""
    monkeypatch.setattr(Watches, "replaced", lambda watches, index: watches.history.reset(index))
    staying = _WORKLOAD.replace("move_every_ms: 400", "move_every_ms: 0")
    assert "is missing" in _notes(_run(workload=staying))


class _Filter:
    """Passes every change of `all`, and fails as the machine says."""

    topic = "all"

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def notice(self, change: Change, *, live: bool) -> str | None:
        if self._mode == "raises":
            raise LookupError("no notice today")
        if self._mode == "live only" and not live:
            return None
        return change.body


class FilterMachine(RegisterMachine):
    """Watched by requests of the form `MODE`; see `_Filter`. `once` is a request that each machine accepts once."""

    name = "filters"
    lives = 0

    def __init__(self) -> None:
        super().__init__()
        self._changes: list[TopicChange] = []
        self._accepted = 0
        FilterMachine.lives += 1
        self._life = FilterMachine.lives

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        self._changes = [TopicChange(("all",), json.dumps(result))]
        return result

    def last_changes(self) -> Sequence[Change]:
        return self._changes

    def watch_filter(self, request: str, *, resumes: bool) -> WatchFilter:
        if request == "gone" and self._accepted >= 2:
            raise BadRequest("gone: what it names does not exist any more")
        self._accepted += 1
        if request == "own text":
            return _OwnText(self._life)
        return _Filter(request)


class _OwnText(_Filter):
    """Gives the number of its machine when it is live, which is not the same on each node."""

    def __init__(self, life: int) -> None:
        super().__init__("")
        self._life = life

    def notice(self, change: Change, *, live: bool) -> str | None:
        return str(self._life) if live else change.body


def _run_filters(request: str, expect: str, timeline: str = "[]") -> RunResult:
    watchers = f"{{count: 3, topics: ['{request}'], move_every_ms: 500}}"
    return run_scenario(
        scenario(timeline, expect, workload=f"{{clients: 2, watchers: {watchers}}}", until_ms=2500),
        machine=FilterMachine,
        requests=lambda rng: ("write", f'{{"op":"set","key":"a","value":{rng.randrange(9)}}}'),
    )


@pytest.mark.parametrize(
    ("request_text", "note"),
    [
        ("raises", "the filter of the request 'raises' raised LookupError: no notice today"),
        ("live only", "live only: a watch would miss it or not, depending on its node"),
        ("own text", "gives another text for the change"),
    ],
)
def test_a_filter_that_breaks_the_contract_is_a_violation(request_text: str, note: str) -> None:
    assert note in _notes(_run_filters(request_text, "{violation: watches}"))


def test_a_request_rejected_later_stops_only_the_watcher() -> None:
    """What a watch names may go away. The checker must judge the earlier notices without asking again."""
    result = _run_filters("gone", "{safe: true, watchers_complete: true}")
    assert [item.name for item in result.failed()] == ["watchers_complete"]
    assert "stopped: BadRequest: gone" in result.failed()[0].seen
