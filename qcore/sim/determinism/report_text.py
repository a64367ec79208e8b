"""The text of a report: the first index at which copies of a machine differ, with everything that is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qcore.sim.determinism.compared_trails import Kind, Located
from qcore.sim.determinism.copies import Moment
from qcore.sim.determinism.machine_recorder import NodeDifference, NodeRestore
from qcore.sim.determinism.run_history import AppliedCommand
from qcore.sim.determinism.state_difference import (
    around_difference,
    describe_difference,
    shorten,
)


def command_text(command: AppliedCommand) -> str:
    """A command with its context, as reports show it."""
    return (
        f"the command {shorten(command.command)} (time_us {command.time_us}, clock_us {command.clock_us}, version "
        f"{command.version})"
    )


def difference_text(located: Located, names: tuple[str, str]) -> str:
    """What two copies gave at the first position at which they differ."""
    one, other = located.one, located.other
    assert one is not None, "asked for differences that appeared again"
    assert other is not None, "as above"
    plural = len(located.kinds) > 1 or located.kinds == ("changes for watches",)
    parts = [f"{_join(located.kinds)} {'differ' if plural else 'differs'}"]
    if "result" in located.kinds:
        a, b = around_difference(one.result or "", other.result or "")
        parts.append(f"{names[0]} answered {a}, {names[1]} answered {b}")
    elif "changes for watches" in located.kinds:
        a, b = around_difference(one.changes, other.changes)
        parts.append(f"{names[0]} gave {a}, {names[1]} gave {b}")
    elif "answer" in located.kinds:
        parts.append(_answers(one, other, names))
    elif "state hash" in located.kinds:
        a, b = one.state_hash[:16], other.state_hash[:16]
        parts.append(f"{names[0]} has the state {a}, {names[1]} has {b}")
    if "state hash" in located.kinds or "snapshot" in located.kinds:
        found = describe_difference(one.snapshot, other.snapshot)
        parts.append(f"difference of the states, in the same order: {found}")
    return "; ".join(parts)


def _answers(one: Moment, other: Moment, names: tuple[str, str]) -> str:
    for query, a, b in zip(one.queries, one.answers, other.answers, strict=False):
        if a != b:
            first, second = around_difference(a, b)
            return f"to the query {shorten(query)} {names[0]} answered {first}, {names[1]} {second}"
    return "the answers to a query differ"


def _join(kinds: Sequence[Kind]) -> str:
    words = list(kinds)
    return "the " + (f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0])


def node_difference_text(difference: NodeDifference) -> str:
    """What two nodes gave, or one node in two lives."""
    first, other = around_difference(difference.first, difference.other)
    what = (
        "the result differs"
        if difference.query is None
        else f"the answer to the query {shorten(difference.query)} differs"
    )
    if difference.node == difference.first_node:
        return f"{what}: node {difference.node} answered {first}, and {other} in another life or after a restore"
    return f"{what}: node {difference.first_node} answered {first}, node {difference.node} answered {other}"


def restores_text(restores: Iterable[NodeRestore]) -> str:
    """The restores of nodes in the run, in a few words; empty without any."""
    found = [f"node {each.node} before index {each.before}" for each in restores]
    if not found:
        return ""
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return f"restores from snapshots in the run until then: {', '.join(found[:4])}{more}"


def attributes_text(one: Moment, other: Moment) -> str:
    """The attributes of the machines that differ, to append to a text. Those that differ only in order come last."""
    differing = [
        name
        for name in sorted(one.attributes.keys() & other.attributes.keys())
        if one.attributes[name] != other.attributes[name]
    ]
    differing.sort(key=lambda name: sorted(one.attributes[name]) == sorted(other.attributes[name]))
    found = [
        f"{name} ({_cut(one.attributes[name])} against {_cut(other.attributes[name])})"
        for name in differing[:2]
    ]
    return f"; attributes that differ: {', '.join(found)}" if found else ""


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
