"""Compares the copies of a machine after one run: which copies there are, what they do, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Final

from qcore.machines.interface import StateMachine
from qcore.sim.determinism.circumstances.shadows import Shadows
from qcore.sim.determinism.compared_trails import Side, first_difference
from qcore.sim.determinism.copies import Delivery, Plan, Trail, digest, run_plan
from qcore.sim.determinism.explanations import Explanations
from qcore.sim.determinism.machine_recorder import MachineRecorder
from qcore.sim.determinism.other_process.second_process import SecondCopies
from qcore.sim.determinism.run_history import History

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
    """A difference that is not explained yet. The one with the lowest rank is reported.

    Attributes:
        rank: first whether the copy had another state before a restore, then the position, then the kind of copy.
        explain: returns the explanation.
    """

    rank: tuple[int, int, int]
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
        self.copies = self.restores = 0
        last = len(history.commands) - 1
        self._last = last
        self._points = sorted(rng.sample(range(last + 1), min(_RESTORES, last + 1)))
        step = max(4, last // _MARKS + 1)
        marks = sorted({-1, *range(step - 1, last, step), *self._points, last})
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
        one = Side("the copy in this process", self._here, self._base)
        self._explanations = Explanations(make, recorder, history, second, shadows, one)

    def differences(self) -> Iterator[Difference]:
        """All differences that were found, not ordered."""
        there = replace(self._base, variant=_THERE)
        reversed_sets = replace(there, variant=_REVERSED)
        self._second.begin(self._history, [there, reversed_sets])
        first = self._here(self._first_plan())
        restored = self._restored_plans(first)
        # The last ones begin in a fresh process, like a node that starts again.
        elsewhere = [plan for plan in restored if plan.held_until is None][::3]
        self._second.begin(self._history, elsewhere)
        yield from self._between_nodes(first)
        yield from self._of_one_copy(first)
        for plan in restored:
            if plan not in elsewhere or not self._second.available:
                yield from self._compared(first, self._here(plan), plan, self._here)
        yield from self._between_processes(first, there, reversed_sets)
        for plan in elsewhere:
            yield from self._compared(first, self._second.next_trail(), plan, self._there)

    def _between_processes(
        self, first: Trail, there: Plan, reversed_sets: Plan
    ) -> Iterator[Difference]:
        """The copy in this process and both in the second one. The latter give the same report in every process."""
        trail, other = self._second.next_trail(), self._second.next_trail()
        if trail is None or other is None:
            return
        self.copies += 2
        second = Side("a copy in the second process", self._there, there)
        changed = Side("one with the order of sets reversed", self._there, reversed_sets)
        for rank, (one, one_side), (another, side) in (
            (-1, (trail, second), (other, changed)),
            (0, (first, self._explanations.one), (trail, second)),
        ):
            found = first_difference(one, another)
            if found is not None:
                explain = partial(self._explanations.of_copy, found, one_side, side)
                yield Difference((0, found.position, rank), explain)

    def _compared(
        self, first: Trail, trail: Trail | None, plan: Plan, run: Callable[[Plan], Trail]
    ) -> Iterator[Difference]:
        """The difference of a restored copy from the first one, if there is any."""
        if trail is None:
            return
        self.copies += 1
        self.restores += 1
        found = first_difference(first, trail, exact=False)
        if found is not None:
            side = Side(_name_of(plan, self._there == run), run, plan)
            explain = partial(self._explanations.of_restore, found, self._explanations.one, side)
            yield Difference((_kept_state(plan), found.position, 4), explain)

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
        return replace(self._base, watched=self._watched, kept=[-1, *self._points], late=late)

    def _choose_probes(self) -> list[str]:
        asked: dict[str, None] = {}
        for queries in self._history.queries.values():
            asked.update(dict.fromkeys(queries))
        return self._rng.sample(list(asked), min(_PROBES, len(asked)))

    # -- comparisons ------------------------------------------------------------------------------

    def _between_nodes(self, first: Trail) -> Iterator[Difference]:
        """The nodes with each other, and with the copy in this process."""
        history, recorder, explanations = self._history, self._recorder, self._explanations
        nodes = recorder.difference
        if nodes is not None:
            at = next(at for at, each in enumerate(history.commands) if each.index == nodes.index)
            yield Difference((0, at, 2), lambda: explanations.of_nodes(at, nodes))
        run = Trail(
            {at: digest(text) for at, text in enumerate(history.results)},
            {at: [digest(text) for text in texts] for at, texts in history.answers.items()},
        )
        found = first_difference(run, first)
        if found is None:
            return
        index = history.commands[found.position].index
        if recorder.fork is None or index < recorder.fork.index:
            yield Difference((0, found.position, 1), lambda: explanations.of_run(found))

    def _of_one_copy(self, first: Trail) -> Iterator[Difference]:
        explanations = self._explanations
        if first.changed_by_query:
            position, query = first.changed_by_query[0]
            yield Difference((0, position, -1), lambda: explanations.of_query(position, query))
        if first.unstable:
            unstable = first.unstable[0]
            yield Difference((0, unstable, 3), lambda: explanations.of_two_snapshots(unstable))
        if first.late:
            late = first.late[0]
            yield Difference((0, late, 3), lambda: explanations.of_late_snapshot(late))

    def _restored_plans(self, first: Trail) -> list[Plan]:
        """The copies that begin from snapshots: fresh ones, ones that lag behind, and ones that are ahead."""
        plans: list[Plan] = []
        ends = [*self._points[1:], self._last]
        for number, (start, end) in enumerate(zip(self._points, ends, strict=True)):
            plan = replace(
                self._base,
                start=start,
                snapshot=first.kept[start],
                through=end,
                delivery=_DELIVERIES[number % len(_DELIVERIES)],
            )
            plans.append(plan)
            if number % 2:
                plans.append(replace(plan, held_until=self._rng.randrange(start + 1) - 1))
        ahead = replace(plans[0], held_until=self._last, delivery="whole")
        empty = replace(ahead, start=-1, snapshot=first.kept[-1], through=self._points[0])
        # A node whose machine restores gradually never calls `restore`.
        empty.delivery = "gradual"
        return [*plans, ahead, empty]


def _kept_state(plan: Plan) -> int:
    """0 for a copy that was fresh, 1 for one that had an older state before, 2 for one that had a newer one."""
    if plan.held_until is None:
        return 0
    return 1 if plan.held_until <= plan.start else 2


def _name_of(plan: Plan, elsewhere: bool) -> str:
    where = " in the second process" if elsewhere else ""
    if plan.held_until is None:
        return f"a copy restored from it{where}"
    state = "an older" if _kept_state(plan) == 1 else "a newer"
    return f"a copy with {state} state, restored from it"
