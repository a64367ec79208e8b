"""Explains why two nodes have different session tables after the same index: which session differs, and in what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from qcore.replica.sessions.client_session import Session
from qcore.replica.sessions.session_text import read_table
from qcore.sim.invariants.state_hash import StatesDiffer

#: The tables of so many indexes are kept. Nodes that are further apart get no explanation.
_KEPT: Final = 64
#: The most sessions that an explanation names.
_NAMED: Final = 3
#: The most numbers of replies that it lists.
_LISTED: Final = 8


class SessionDifferences:
    """Keeps the newest session tables that nodes reported."""

    def __init__(self) -> None:
        #: index -> the table of the first node at this index
        self._first: dict[int, str] = {}
        self._last = ""

    def saw(self, index: int, text: str) -> None:
        """Note that a node has this table after an index; empty text: there is no session."""
        self._last = text
        if index in self._first:
            return
        self._first[index] = text
        if len(self._first) > _KEPT:
            del self._first[next(iter(self._first))]

    def explain(self, differ: StatesDiffer) -> str:
        """Which sessions differ between the node that reported last and the first one at this index."""
        first = self._first.get(differ.index)
        if first is None:
            return ""
        node, other = f"node {differ.node}", f"node {differ.other}"
        if differ.node == differ.other:
            node, other = "the table now", "the table before"
        found = list(_differences(_sessions(self._last), _sessions(first), node, other))
        more = len(found) - _NAMED
        return "".join(f"; {each}" for each in found[:_NAMED]) + (
            f"; and {more} more sessions differ" if more > 0 else ""
        )


def _sessions(text: str) -> dict[int, Session]:
    table: dict[int, Session] = {}
    if text:
        for _ in read_table(text, table.__setitem__):
            pass
    return table


def _differences(
    mine: dict[int, Session], others: dict[int, Session], node: str, other: str
) -> Iterator[str]:
    for number in sorted(mine.keys() | others.keys()):
        left, right = mine.get(number), others.get(number)
        if left is None or right is None:
            yield f"session {number} is missing in the table of {node if left is None else other}"
            continue
        parts = [*_of_session(left, right, node, other)]
        if parts:
            yield f"session {number}: {', '.join(parts)}"
    if [*mine] != [*others] and mine.keys() == others.keys():
        yield "the order of last use differs"


def _of_session(left: Session, right: Session, node: str, other: str) -> Iterator[str]:
    for has, lacks, holder, who in (
        (left.replies, right.replies, node, other),
        (right.replies, left.replies, other, node),
    ):
        missing = sorted(has.keys() - lacks.keys())
        if missing:
            yield f"{holder} has the replies to commands {_numbers(missing)}, {who} has not"
    changed = sorted(
        each for each in left.replies.keys() & right.replies.keys() if _differ(left, right, each)
    )
    if changed:
        yield f"the replies to commands {_numbers(changed)} differ"
    for what, one, two in (
        ("acknowledged commands", left.acknowledged_through, right.acknowledged_through),
        ("time of last use in microseconds", left.last_used_us, right.last_used_us),
        ("lifetime in milliseconds", left.lifetime_ms, right.lifetime_ms),
    ):
        if one != two:
            yield f"the {what}: {one} on {node}, {two} on {other}"


def _differ(left: Session, right: Session, number: int) -> bool:
    one, two = left.replies[number], right.replies[number]
    return type(one) is not type(two) or str(one) != str(two)


def _numbers(numbers: list[int]) -> str:
    more = len(numbers) - _LISTED
    return ", ".join(map(str, numbers[:_LISTED])) + (f" and {more} more" if more > 0 else "")
