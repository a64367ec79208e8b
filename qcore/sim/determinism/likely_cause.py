"""Finds the likely cause of a difference by experiments. Each repeats a copy with one circumstance changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, Protocol

from qcore.sim.determinism.circumstances.set_order import ITERATION, POP
from qcore.sim.determinism.compared_trails import Located, Side, differing, first_difference
from qcore.sim.determinism.copies import Moment, Plan, Trail

#: For each group of shadows: what it is, and the beginnings of the names of its sources.
_GROUPS: Final = {
    "clock": ("the clock", ("time.", "datetime.", "date.")),
    "entropy": ("random numbers", ("random.", "uuid.", "os.urandom", "os.getrandom")),
    "identity": ("the identity of objects", ("id",)),
    "hash": ("the hash of a text, which depends on PYTHONHASHSEED", ("hash",)),
    "process": ("the process or its computer", ("os.getp", "uuid.getnode", "socket.", "platform.")),
    "set_order": ("the order of a set, which depends on PYTHONHASHSEED", (ITERATION, POP)),
}
#: The values that experiments give to a group. A drawn result may be the same for two of them.
_VALUES: Final = (1, 2, 3)
#: How many places are named.
_PLACES: Final = 3
_PROCESS_ONLY: Final = (
    "something that this process has and a fresh one has not: a module variable, a class attribute, or a function that "
    "was replaced"
)


STALE_ANSWER: Final = (
    "an earlier query: `query` keeps an answer (in a cache) that later commands make wrong"
)


class OtherProcesses(Protocol):
    """Copies in second processes that differ in one thing from the usual one."""

    def run(self, plan: Plan) -> Trail:
        """A copy in the second process of the run."""
        ...

    def other_seed(self, plan: Plan) -> Trail:
        """The same with another `PYTHONHASHSEED`."""
        ...

    def with_variables(self, plan: Plan) -> Trail:
        """The same with the environment variables of this process."""
        ...

    def with_time_zone(self, plan: Plan) -> Trail:
        """The same with the time zone of this process."""
        ...

    def with_directory(self, plan: Plan) -> Trail:
        """The same with the working directory of this process."""
        ...


def find_cause(located: Located, one: Side, processes: OtherProcesses | None) -> str:
    """The likely cause of a difference between two copies that began without a snapshot; empty if unknown.

    Args:
        located: the difference.
        one: a copy in this process.
        processes: copies in other processes; None if there are none.
    """
    run = one.run if processes is None else processes.run
    if "answer" in located.kinds and keeps_old_answers(one, run, located.position):
        return STALE_ANSWER
    plan = replace(one.plan, variant={})
    experiment = _Experiment(Side("", run, plan), located.position)
    calls = _calls(experiment.base, located)
    if experiment.changes(run, plan):  # the same again
        return _shared(run, plan, located.position) or _uncontrolled(
            (located.one, located.other), calls
        )
    # Two copies may get the same addresses by chance, so "the same again" does not find every address.
    address = _address_in((located.one, located.other))
    for group, (what, sources) in _GROUPS.items():
        # Addresses differ by chance, so a group that was never asked is no cause.
        asked = any(_belongs(source, sources) for source, _ in experiment.calls)
        if not asked and (group != "identity" or address):
            continue
        if any(experiment.changes(run, replace(plan, variant={group: value})) for value in _VALUES):
            return what + _at(calls, sources)
    if address:
        return address
    if experiment.changes(run, replace(plan, second=True)):
        return _shared(run, plan, located.position) or _uncontrolled(
            (located.one, located.other), calls
        )
    if processes is not None:
        if experiment.changes(processes.other_seed, plan):
            return "the order of a set or a hash, which depends on PYTHONHASHSEED" + _at(
                calls, ("hash", ITERATION, POP)
            )
        for what, varied in (
            ("an environment variable", processes.with_variables),
            ("the time zone of the computer", processes.with_time_zone),
            ("the working directory", processes.with_directory),
        ):
            if experiment.changes(varied, plan):
                return what + _at(calls, ("os.environ",) if "variable" in what else ())
    return _anywhere(run, plan) or ("" if processes is None else _PROCESS_ONLY)


def keeps_old_answers(one: Side, run: Callable[[Plan], Trail], position: int) -> bool:
    """Whether a copy answers differently at a position if it was never asked before."""

    def at_position(plan: Plan) -> Moment | None:
        side = replace(one, run=run, plan=plan)
        return side.again(position, window=(position, position)).window.get(position)

    asked, same = at_position(one.plan), at_position(one.plan)
    never = at_position(replace(one.plan, asks_from=position))
    if asked is None or same is None or never is None or differing(asked, same):
        return False
    return "answer" in differing(asked, never)


def _anywhere(run: Callable[[Plan], Trail], plan: Plan) -> str:
    """The group of shadows that changes anything in the run; empty if none does."""
    base = run(plan)
    for group, (what, sources) in _GROUPS.items():
        if first_difference(base, run(replace(plan, variant={group: 1}))) is not None:
            return what + _at(base.calls, sources)
    return ""


class _Experiment:
    """Compares variations with what a copy gave at one position."""

    def __init__(self, base: Side, position: int) -> None:
        self._position = position
        trail = self._trail(base)
        self.base = trail.window
        self.calls = list(trail.calls)

    def changes(self, run: Callable[[Plan], Trail], plan: Plan) -> bool:
        """Whether this plan gives something else, at the position or the one before."""
        moments = self._trail(Side("", run, plan)).window
        return any(
            differing(self.base[at], moments[at]) for at in self.base.keys() & moments.keys()
        )

    def _trail(self, side: Side) -> Trail:
        at = self._position
        return side.again(at, window=(max(-1, at - 1), at))


def _calls(base: dict[int, Moment], located: Located) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    moments = [base.get(located.position), located.one, located.other, *base.values()]
    for moment in moments:
        if moment is not None:
            found.update(dict.fromkeys(moment.calls))
    return list(found)


def _at(calls: Iterable[tuple[str, str]], sources: tuple[str, ...]) -> str:
    places = [f"{source} at {place}" for source, place in calls if _belongs(source, sources)][
        :_PLACES
    ]
    return f" ({', '.join(places)})" if places else ""


def _belongs(source: str, sources: tuple[str, ...]) -> bool:
    return any(source == each or (each != "id" and source.startswith(each)) for each in sources)


def _shared(run: Callable[[Plan], Trail], plan: Plan, position: int) -> str:
    """What copies in one process share; empty if nothing that has a name changed."""
    names = Side("", run, plan).again(position, names_shared=True).shared
    if not names:
        return ""
    shown = ", ".join(names[:_PLACES])
    return f"state outside the object, which all machines in a process share: the commands changed {shown}"


def chance_at(moment: Moment) -> str:
    """The likely cause of a difference that did not appear again when the copies ran again.

    Args:
        moment: what a copy did at the position of the difference, when it ran again.
    """
    return _uncontrolled((moment,), list(moment.calls))


def _address_in(moments: Iterable[Moment | None]) -> str:
    """A sentence if something that a copy gave contains the address of an object, else an empty text."""
    if any(" at 0x" in text for moment in moments for text in _texts(moment)):
        return "the text of an object without __repr__, which contains its address"
    return ""


def _uncontrolled(moments: Iterable[Moment | None], calls: list[tuple[str, str]]) -> str:
    if address := _address_in(moments):
        return address
    if places := _at(calls, ("id",)):
        return f"the identity of objects{places}"
    return "a source that gives something else at each call" + _at(
        calls, tuple(source for source, _ in calls)
    )


def _texts(moment: Moment | None) -> Iterator[str]:
    if moment is not None:
        yield moment.result or ""
        yield moment.changes
        yield from moment.answers
        yield moment.snapshot
