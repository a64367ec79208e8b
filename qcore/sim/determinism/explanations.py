"""Explains one difference: where it begins exactly, what differs there, and the likely cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.compared_trails import Found, Located, Side, differing, locate
from qcore.sim.determinism.copies import Delivery, Moment, Plan, Trail, run_plan
from qcore.sim.determinism.likely_cause import (
    STALE_ANSWER,
    chance_at,
    find_cause,
    keeps_old_answers,
)
from qcore.sim.determinism.machine_recorder import MachineRecorder, NodeDifference
from qcore.sim.determinism.other_process.second_process import HASH_SEEDS, SecondCopies
from qcore.sim.determinism.report_text import (
    attributes_text,
    command_text,
    difference_text,
    node_difference_text,
    restores_text,
)
from qcore.sim.determinism.run_history import History
from qcore.sim.determinism.state_difference import describe_difference, shorten

_NOT_REPLACED: Final = (
    "`restore` does not replace the whole state: something that the copy held before is left in it"
)
_NOT_RESTORED: Final = "`snapshot` leaves something out, or `restore` does not restore it"
_NOT_IN_SNAPSHOT: Final = (
    "later commands or queries depend on something that the snapshot does not have, "
    "such as a counter or a cache"
)
_NEEDS_CHUNKS: Final = (
    "`restore` depends on the borders of the chunks: it may get the same text in other chunks"
)


class Explanations:
    """Explains the differences of one run.

    Args:
        make, recorder, history, second, shadows: those of the `Comparison`.
        one: the copy in this process, with which the others are compared.

    Attributes:
        one: the same.
    """

    def __init__(
        self,
        make: Callable[[], StateMachine],
        recorder: MachineRecorder,
        history: History,
        second: SecondCopies,
        shadows: Shadows,
        one: Side,
    ) -> None:
        self._make = make
        self._recorder = recorder
        self._history = history
        self._shadows = shadows
        self.one = one
        self._processes = _Processes(second, history) if second.available else None

    def of_copy(self, found: Found, one: Side, other: Side) -> str:
        """Two copies that began without a snapshot differ."""
        located = locate(found, one, other)
        if located.one is None:
            return self._not_again(found)
        text = difference_text(located, (one.name, other.name))
        return self._report(located.position, text, find_cause(located, one, self._processes))

    def of_run(self, found: Found) -> str:
        """A node of the run and the copy in this process differ."""
        history, position = self._history, found.position
        moment = self._moment(self.one, position)
        if found.kind == "result":
            run = replace(moment, result=history.results[position])
        else:
            answers, queries = history.answers[position], history.queries[position]
            run = replace(moment, answers=answers, queries=queries)
        located = Located(position, (found.kind,), run, moment)
        text = difference_text(located, ("a node of the run", self.one.name))
        return self._report(position, text, find_cause(located, self.one, self._processes))

    def of_nodes(self, position: int, difference: NodeDifference) -> str:
        """Two nodes of the run differ."""
        located = Located(position, ("result" if difference.query is None else "answer",))
        cause = find_cause(located, self.one, self._processes)
        return self._report(position, node_difference_text(difference), cause)

    def of_restore(self, found: Found, one: Side, other: Side) -> str:
        """A copy that was restored from a snapshot differs from the one that applied everything."""
        start = other.plan.start
        located = locate(found, one, other, exact=False)
        if located.one is None or located.other is None:
            return self._not_again(found)
        text = difference_text(located, ("the copy that applied everything", other.name))
        text += attributes_text(located.one, located.other)
        if located.kinds == ("answer",) and keeps_old_answers(one, one.run, located.position):
            cause = STALE_ANSWER
        elif located.position > start:
            cause = _NOT_IN_SNAPSHOT
        elif other.plan.held_until is not None and not self._differs_when_fresh(one, other):
            cause = _NOT_REPLACED
        elif not self._differs_when_fresh(one, other, delivery="as taken"):
            cause = _NEEDS_CHUNKS
        else:
            cause = _NOT_RESTORED
        return self._report(located.position, text, cause, snapshot_at=start)

    def of_two_snapshots(self, position: int) -> str:
        """Two snapshots of the same state differ."""
        index = self._index(position)
        return (
            f"after index {index} two snapshots of the same state differ; likely cause: `snapshot` depends on more "
            "than the state, or changes it"
        )

    def of_late_snapshot(self, position: int) -> str:
        """A snapshot differs when it is read after more commands."""
        return (
            f"the snapshot of index {self._index(position)} was different when it was read after more commands; likely "
            "cause: `snapshot` returns an iterable that reads the state when it is consumed, not when it is called"
        )

    def of_query(self, position: int, query: str) -> str:
        """A query changed the state of the copy in this process."""
        before = self._moment(Side("", self.one.run, self._without_queries()), position)
        only = History(self._history.commands, {position: [query]})
        side = Side(
            "",
            lambda plan: run_plan(self._make, only, plan, self._shadows),
            replace(self.one.plan, probed=[]),
        )
        after = self._moment(side, position)
        difference = describe_difference(before.snapshot, after.snapshot)
        return (
            f"at index {self._index(position)}, the query {shorten(query)} changed the state: {difference}; likely "
            "cause: `query` writes; only commands may change the state, because a query reaches one node only"
        )

    # -- inside -----------------------------------------------------------------------------------

    def _moment(self, side: Side, position: int) -> Moment:
        return side.again(position, window=(position, position)).window[position]

    def _without_queries(self) -> Plan:
        return replace(self.one.plan, asks_from=len(self._history.commands))

    def _index(self, position: int) -> int:
        return self._history.commands[position].index if position >= 0 else 0

    def _differs_when_fresh(self, one: Side, other: Side, delivery: Delivery | None = None) -> bool:
        """Whether a copy without an old state differs, too; perhaps with another delivery of the snapshot."""
        plan = other.plan
        start = plan.start
        if start < 0:
            return False
        fresh = replace(plan, held_until=None, delivery=delivery or plan.delivery)
        moments = self._moment(one, start), self._moment(replace(other, plan=fresh), start)
        return bool(differing(*moments, exact=False))

    def _not_again(self, found: Found) -> str:
        return self._report(
            found.position,
            f"two copies had a different {found.kind}, and not when they ran again",
            chance_at(self._moment(self.one, max(found.position, 0))),
        )

    def _report(self, position: int, text: str, cause: str, snapshot_at: int | None = None) -> str:
        index = self._index(position)
        where = "before the first command"
        if snapshot_at == position:
            where = f"right after a restore from the snapshot of index {index}"
        elif position >= 0:
            where = f"at index {index}, {command_text(self._history.commands[position])}"
            if snapshot_at is not None:
                where += f", after a restore from the snapshot of index {self._index(snapshot_at)}"
        parts = [f"{where}: {text}"]
        if position > 0 and snapshot_at != position:
            parts.append(f"everything was equal through index {self._index(position - 1)}")
        restores = restores_text(
            each for each in self._recorder.node_restores if each.before <= index
        )
        if restores:
            parts.append(restores)
        if cause:
            parts.append(f"likely cause: {cause}")
        return "; ".join(parts)


class _Processes:
    """See `OtherProcesses`."""

    def __init__(self, second: SecondCopies, history: History) -> None:
        self._second = second
        self._history = history

    def run(self, plan: Plan) -> Trail:
        return self._second.run(self._history, plan)

    def other_seed(self, plan: Plan) -> Trail:
        return self._second.run_other(self._history, plan, HASH_SEEDS[1])

    def with_variables(self, plan: Plan) -> Trail:
        return self._second.run_other(self._history, plan, HASH_SEEDS[0], "variables")

    def with_time_zone(self, plan: Plan) -> Trail:
        return self._second.run_other(self._history, plan, HASH_SEEDS[0], "time zone")

    def with_directory(self, plan: Plan) -> Trail:
        return self._second.run_other(self._history, plan, HASH_SEEDS[0], "directory")
