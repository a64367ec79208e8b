"""Finds the likely cause of a difference by experiments. Each repeats a copy with one circumstance changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from qcore.sim.determinism.compared_trails import Located, Side, differing
from qcore.sim.determinism.copies import Moment, Plan, Trail

#: For each group of shadows: what it is, and the beginnings of the names of its sources.
_GROUPS: Final = {
    "clock": ("the clock", ("time.", "datetime.", "date.")),
    "entropy": ("random numbers", ("random.", "uuid.", "os.urandom", "os.getrandom")),
    "identity": ("the identity of objects", ("id",)),
    "hash": ("the hashes of texts, which depend on PYTHONHASHSEED", ("hash",)),
    "process": (
        "the process or the machine that it runs on",
        ("os.getp", "uuid.getnode", "socket.", "platform."),
    ),
    "set_order": ("the order of a set, which depends on PYTHONHASHSEED", ()),
}
_ENVIRONMENT: Final = ("os.environ",)
#: How many places are named.
_PLACES: Final = 3


@dataclass(slots=True, frozen=True)
class OtherProcesses:
    """Copies in second processes that differ in one thing from the usual one; None if there is none.

    Attributes:
        usual: the second process of the run.
        other_seed: the same, with another `PYTHONHASHSEED`.
        same_environment: the same, with the environment of this process.
    """

    usual: Callable[[Plan], Trail]
    other_seed: Callable[[Plan], Trail]
    same_environment: Callable[[Plan], Trail]


def find_cause(located: Located, one: Side, other: Side, processes: OtherProcesses | None) -> str:
    """The likely cause of a difference between two copies that began without a snapshot; empty if unknown."""
    run = one.run if processes is None else processes.usual
    plan = replace(one.plan, variant={}, asks=True)
    experiment = _Experiment(Side("", run, plan), located.position)
    calls = _calls(experiment.base, located)
    if experiment.changes(Side("", run, plan)):  # the same again
        shared = Side("", run, plan).again(located.position, names_shared=True).shared
        return _shared(shared) if shared else _uncontrolled(located, calls)
    for group, (what, sources) in _GROUPS.items():
        if experiment.changes(Side("", run, replace(plan, variant={group: 1}))):
            return _with_places(what, sources, calls)
    if experiment.changes(Side("", run, replace(plan, second=True))):
        shared = Side("", run, plan).again(located.position, names_shared=True).shared
        return _shared(shared) if shared else _uncontrolled(located, calls)
    if processes is not None:
        if experiment.changes(Side("", processes.other_seed, plan)):
            return "the order of a set or a hash, which depends on PYTHONHASHSEED" + _at(
                calls, ("hash",)
            )
        if experiment.changes(Side("", processes.same_environment, plan)):
            what = "the environment: a variable, the time zone, the locale or the working directory"
            return _with_places(what, _ENVIRONMENT, calls)
        return (
            "something that this process has and a fresh one has not: a module variable, a class attribute, or a "
            "function that was replaced"
        )
    return ""


class _Experiment:
    """Compares variations with what a copy gave at one position."""

    def __init__(self, base: Side, position: int) -> None:
        self._position = position
        self.base = self._moments(base)

    def changes(self, varied: Side) -> bool:
        """Whether the variation gives something else, at this position or the one before."""
        moments = self._moments(varied)
        return any(
            differing(self.base[at], moments[at]) for at in self.base.keys() & moments.keys()
        )

    def _moments(self, side: Side) -> dict[int, Moment]:
        at = self._position
        return side.again(at, window=(max(0, at - 1), at)).window


def _calls(base: dict[int, Moment], located: Located) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    moments = [base.get(located.position), located.one, located.other, *base.values()]
    for moment in moments:
        if moment is not None:
            found.update(dict.fromkeys(moment.calls))
    return list(found)


def _with_places(what: str, sources: tuple[str, ...], calls: Iterable[tuple[str, str]]) -> str:
    return what + _at(calls, sources)


def _at(calls: Iterable[tuple[str, str]], sources: tuple[str, ...]) -> str:
    places = [f"{source} at {place}" for source, place in calls if _belongs(source, sources)][
        :_PLACES
    ]
    return f" ({', '.join(places)})" if places else ""


def _belongs(source: str, sources: tuple[str, ...]) -> bool:
    return any(source == each or (each != "id" and source.startswith(each)) for each in sources)


def _shared(names: list[str]) -> str:
    return (
        "state outside the machine, which all machines in a process share: applying the commands changed "
        + ", ".join(names[:_PLACES])
    )


def _uncontrolled(located: Located, calls: list[tuple[str, str]]) -> str:
    texts = [text for moment in (located.one, located.other) for text in _texts(moment)]
    if any(" at 0x" in text for text in texts):
        return "the text of an object without __repr__, which contains its address"
    places = _at(calls, tuple(source for source, _ in calls))
    return "a source that gives something else at each call" + places


def _texts(moment: Moment | None) -> Iterator[str]:
    if moment is not None:
        yield moment.result
        yield from moment.answers
        yield moment.snapshot
