"""Compares the copies of a machine after one run: which copies there are, what they do, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.compared_trails import (
    Found,
    Located,
    Side,
    differing,
    first_difference,
    locate,
)
from qcore.sim.determinism.copies import Delivery, Plan, Trail, digest, run_plan
from qcore.sim.determinism.likely_cause import OtherProcesses, find_cause
from qcore.sim.determinism.other_process.second_process import SecondCopies
from qcore.sim.determinism.report_text import (
    command_text,
    difference_text,
    node_difference_text,
    restores_text,
)
from qcore.sim.determinism.run_history import History, MachineRecorder
from qcore.sim.determinism.state_difference import describe_difference, shorten

#: How many snapshots are taken and restored after a run.
_RESTORES: Final = 8
#: How often the states are compared, at most. The first difference is then found by bisection.
_MARKS: Final = 48
_SNAPSHOT_MARKS: Final = 12
#: How many different queries are asked at each restore, and before how many queries the state hash is taken.
_PROBES: Final = 8
_WATCHED: Final = 32
#: The shadows of the copies in this process, and of those in the second one. The last also reverses sets.
_HERE: Final = {"clock": 1, "entropy": 1, "identity": 1, "hash": 1, "process": 1}
_THERE: Final = {"clock": 2, "entropy": 2, "identity": 2, "process": 2}
_REVERSED: Final = {**_THERE, "identity": 3, "hash": 1, "set_order": 1}
_DELIVERIES: Final[tuple[Delivery, ...]] = ("pieces", "gradual", "whole")


@dataclass(slots=True)
class Difference:
    """A difference that is not explained yet. The lowest position is reported, then the lowest rank."""

    position: int
    rank: int
    explain: Callable[[], str] = field(repr=False)


class Comparison:
    """The copies of one run.

    Args:
        make: makes the machine.
        recorder: what the nodes did.
        history: the same, for copies; not empty.
        second: the copies in the second process.
        shadows: installed in this process.
        rng: draws where snapshots are taken.

    Attributes:
        copies, restores: how many there were.
    """

    def __init__(
        self,
        make: Callable[[], StateMachine],
        recorder: MachineRecorder,
        history: History,
        second: SecondCopies,
        shadows: Shadows,
        rng: Random,
    ) -> None:
        self._make = make
        self._recorder = recorder
        self._history = history
        self._second = second
        self._shadows = shadows
        self._rng = rng
        self.copies = 0
        self.restores = 0
        last = len(history.commands) - 1
        self._last = last
        self._points = sorted(rng.sample(range(last + 1), min(_RESTORES, last + 1)))
        step = max(4, last // _MARKS + 1)
        marks = sorted({*range(step - 1, last, step), *self._points, last})
        sparse = marks[:: len(marks) // _SNAPSHOT_MARKS + 1]
        queried = sorted(history.queries)
        self._base = Plan(
            last,
            marks=marks,
            snapshot_marks=sorted({*sparse, *self._points, last}),
            probed=self._points,
            probes=self._choose_probes(),
            variant=_HERE,
        )
        self._watched = sorted(rng.sample(queried, min(_WATCHED, len(queried))))

    def differences(self) -> Iterator[Difference]:
        """All differences that were found, not ordered."""
        there = replace(self._base, variant=_THERE)
        reversed_sets = replace(there, variant=_REVERSED)
        self._second.begin(self._history, [there, reversed_sets])
        first = self._here(self._first_plan())
        yield from self._between_nodes(first)
        yield from self._of_one_copy(first)
        one = Side("the copy in this process", self._here, self._base)
        for plan, name in (
            (there, "the copy in the second process"),
            (reversed_sets, "the copy in the second process, with sets reversed"),
        ):
            trail = self._second.next_trail()
            if trail is None:
                continue
            self.copies += 1
            found = first_difference(first, trail)
            if found is not None:
                yield self._explained(found, 0, one, Side(name, self._there, plan))
        yield from self._of_restored_copies(first, one)

    # -- the copies -------------------------------------------------------------------------------

    def _here(self, plan: Plan) -> Trail:
        return run_plan(self._make, self._history, plan, self._shadows)

    def _there(self, plan: Plan) -> Trail:
        return self._second.run(self._history, plan)

    def _first_plan(self) -> Plan:
        self.copies += 1
        late: list[tuple[int, int]] = []
        for point, following in zip(self._points, [*self._points[1:], self._last + 1], strict=True):
            late.append((point, min(self._rng.randint(1, 6), following - point - 1)))
        return replace(self._base, watched=self._watched, kept=self._points, late=late)

    def _choose_probes(self) -> list[str]:
        asked: dict[str, None] = {}
        for queries in self._history.queries.values():
            asked.update(dict.fromkeys(queries))
        return self._rng.sample(list(asked), min(_PROBES, len(asked)))

    # -- comparisons ------------------------------------------------------------------------------

    def _between_nodes(self, first: Trail) -> Iterator[Difference]:
        """The nodes with each other, and with the copy in this process."""
        history, recorder = self._history, self._recorder
        nodes = recorder.difference
        if nodes is not None:
            position = self._position_of(nodes.index)
            yield Difference(
                position, 2, lambda: self._node_report(position, node_difference_text(nodes))
            )
        run = Trail(
            {at: digest(text) for at, text in enumerate(history.results)},
            {at: [digest(text) for text in texts] for at, texts in history.answers.items()},
        )
        found = first_difference(run, first)
        if found is None:
            return
        index = history.commands[found.position].index
        if recorder.forked_at is not None and index >= recorder.forked_at:
            return
        yield Difference(found.position, 1, lambda: self._run_report(found))

    def _of_one_copy(self, first: Trail) -> Iterator[Difference]:
        if first.changed_by_query:
            position, query = first.changed_by_query[0]
            yield Difference(position, -1, lambda: self._query_report(position, query))
        if first.unstable:
            unstable = first.unstable[0]
            yield Difference(unstable, 3, lambda: self._unstable_report(unstable))
        if first.late:
            late = first.late[0]
            yield Difference(late, 3, lambda: self._late_report(late))

    def _of_restored_copies(self, first: Trail, one: Side) -> Iterator[Difference]:
        ends = [*self._points[1:], self._last]
        for number, (start, end) in enumerate(zip(self._points, ends, strict=True)):
            text = first.kept[start]
            delivery = _DELIVERIES[number % len(_DELIVERIES)]
            plan = replace(self._base, start=start, snapshot=text, through=end, delivery=delivery)
            yield from self._restored(first, one, plan, "a copy restored from it")
            if number % 2:
                held = replace(plan, held_until=self._rng.randrange(start + 1) - 1)
                yield from self._restored(
                    first, one, held, "a copy that lagged behind and was restored from it"
                )
        newer = replace(
            self._base,
            start=self._points[0],
            snapshot=first.kept[self._points[0]],
            through=ends[0],
            held_until=self._last,
        )
        if self._points[0] < self._last:
            yield from self._restored(
                first, one, newer, "a copy with a newer state that was restored from it"
            )

    def _restored(self, first: Trail, one: Side, plan: Plan, name: str) -> Iterator[Difference]:
        self.copies += 1
        self.restores += 1
        found = first_difference(first, self._here(plan), exact=False)
        if found is not None:
            other = Side(name, self._here, plan)
            yield Difference(found.position, 4, lambda: self._restore_report(found, one, other))

    def _explained(self, found: Found, rank: int, one: Side, other: Side) -> Difference:
        return Difference(found.position, rank, lambda: self._copy_report(found, one, other))

    # -- reports ----------------------------------------------------------------------------------

    def _copy_report(self, found: Found, one: Side, other: Side) -> str:
        located = locate(found, one, other)
        if located.one is None:
            return self._not_again(found)
        return self._report(
            located.position,
            difference_text(located, (one.name, other.name)),
            find_cause(located, one, other, self._processes()),
        )

    def _run_report(self, found: Found) -> str:
        """The run itself and a copy differ."""
        history, position = self._history, found.position
        side = Side("a copy", self._here, self._base)
        moment = side.again(position, window=(position, position)).window[position]
        if found.kind == "result":
            run = replace(moment, result=history.results[position])
        else:
            answers = history.answers[position]
            run = replace(moment, answers=answers, queries=history.queries[position])
        located = Located(position, (found.kind,), run, moment)
        text = difference_text(located, ("a node of the run", "a copy"))
        return self._report(position, text, find_cause(located, side, side, self._processes()))

    def _node_report(self, position: int, text: str) -> str:
        side = Side("a copy", self._here, self._base)
        located = Located(position, ("result",))
        return self._report(position, text, find_cause(located, side, side, self._processes()))

    def _restore_report(self, found: Found, one: Side, other: Side) -> str:
        start, commands = other.plan.start, self._history.commands
        located = locate(found, one, other, exact=False)
        if located.one is None:
            return self._not_again(found)
        at = f"snapshot of index {commands[start].index}: "
        text = difference_text(located, ("the copy that applied everything", other.name))
        if located.position == start:
            cause = "`snapshot` or `restore`: the state differs right after the restore"
            if other.plan.held_until is not None and not self._differs_without_old_state(
                one, other
            ):
                cause = "`restore` does not replace the whole state: what the copy held before is left in it"
            return self._report(start, at + text, cause, after_command=True)
        cause = "the snapshot lacks something on which later commands depend (a counter, a cache, a class attribute)"
        return self._report(located.position, at + text, cause)

    def _differs_without_old_state(self, one: Side, other: Side) -> bool:
        start = other.plan.start
        fresh = replace(other, plan=replace(other.plan, held_until=None))
        moments = [side.again(start, window=(start, start)).window[start] for side in (one, fresh)]
        return bool(differing(moments[0], moments[1], exact=False))

    def _unstable_report(self, position: int) -> str:
        index = self._history.commands[position].index
        return (
            f"after index {index} two snapshots of the same state differ; likely cause: `snapshot` depends on more "
            "than the state, or changes it"
        )

    def _late_report(self, position: int) -> str:
        index = self._history.commands[position].index
        return (
            f"the snapshot of index {index} was different when it was read after more commands; likely cause: "
            "`snapshot` returns an iterable that reads the state when it is consumed, and not when it is called"
        )

    def _query_report(self, position: int, query: str) -> str:
        """A query changed the state of the copy in this process."""
        side = Side("", self._here, replace(self._base, asks=False))
        before = side.again(position, window=(position, position)).window[position]
        history = self._history
        only = History(history.commands, {position: [query]})
        plan = replace(
            self._base,
            probed=[],
            marks=[],
            snapshot_marks=[],
            through=position,
            window=(position, position),
        )
        after = run_plan(self._make, only, plan, self._shadows).window[position]
        difference = describe_difference(before.snapshot, after.snapshot, "before", "after")
        return (
            f"at index {history.commands[position].index}, the query {shorten(query)} changed the state: {difference}; "
            "likely cause: `query` writes; only commands may change the state, because a query reaches one node only"
        )

    def _not_again(self, found: Found) -> str:
        return self._report(
            found.position,
            f"two copies had a different {found.kind}, and the difference did not appear when they ran again",
            "a source that gives something else at each call, which cannot be replaced",
        )

    def _report(self, position: int, text: str, cause: str, *, after_command: bool = False) -> str:
        command = self._history.commands[position]
        last = self._history.commands[position - 1].index if position else 0
        equal = f"; all was equal through index {last}" if last and not after_command else ""
        parts = [f"at index {command.index}, {command_text(command)}, {text}{equal}"]
        if cause:
            parts.append(f"likely cause: {cause}")
        restores = restores_text(
            each for each in self._recorder.node_restores if each.before <= command.index
        )
        if restores:
            parts.append(restores)
        return "; ".join(parts)

    def _position_of(self, index: int) -> int:
        return next(at for at, each in enumerate(self._history.commands) if each.index == index)

    def _processes(self) -> OtherProcesses | None:
        if not self._second.available:
            return None
        return OtherProcesses(
            self._there,
            lambda plan: self._second.other_seed(self._history, plan),
            lambda plan: self._second.same_environment(self._history, plan),
        )
