"""The comparison of members by their digests: which of them differ, and whether this node differs from a majority."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

from pydantic import JsonValue

from qcore.core.entry import Membership
from qcore.core.quorum import vote_result
from qcore.replica.messages import StateDigest

#: What identifies a member: its id or its address.
M = TypeVar("M", int, str)


@dataclass(slots=True, frozen=True)
class Comparison(Generic[M]):
    """The result of a comparison.

    Attributes:
        compared: the largest group of members that could be compared with each other.
        index: the newest index at which members were compared, or 0.
        differs_at: an index at which two members differ and after which they are not known to be equal; None if there
            is none. Of several such indexes, those for which most members have a digest count, and of these the newest.
        digests: by member, the digests known at `differs_at`; empty if that is None.
    """

    compared: tuple[M, ...]
    index: int
    differs_at: int | None
    digests: Mapping[M, str]

    @property
    def different(self) -> int:
        """How many members are outside the largest group that agrees. It is above 0 exactly if members differ."""
        if not self.digests:
            return 0
        return len(self.digests) - max(Counter(self.digests.values()).values())

    def as_json(self) -> JsonValue:
        """The comparison as a part of the metrics object."""
        return {
            "compared": list(self.compared),
            "index": self.index,
            "differs_at": self.differs_at,
            "digests": {str(member): digest for member, digest in self.digests.items()},
        }


def compare(seen: Mapping[M, Mapping[int, str]]) -> Comparison[M]:
    """Compare every two members at the newest index for which both have a digest.

    Args:
        seen: by member, its digests by index.
    """
    newest = 0
    odd: set[int] = (
        set()
    )  # indexes at which two members differ, if they differ at their newest common index
    group = {member: member for member in seen}  # members that can be compared with each other
    for one, other in combinations(seen, 2):
        common = seen[one].keys() & seen[other].keys()
        if not common:
            continue
        index = max(common)
        newest = max(newest, index)
        if seen[one][index] != seen[other][index]:
            odd |= {at for at in common if seen[one][at] != seen[other][at]}
        joined, into = group[other], group[one]
        group = {member: into if name == joined else name for member, name in group.items()}
    where = {at: {m: known[at] for m, known in seen.items() if at in known} for at in odd}
    differs_at = max(odd, key=lambda at: (len(where[at]), at), default=None)
    sizes = Counter(group.values())
    compared: tuple[M, ...] = ()
    if sizes and max(sizes.values()) > 1:
        ((largest, _),) = sizes.most_common(1)
        compared = tuple(member for member, name in group.items() if name == largest)
    return Comparison(compared, newest, differs_at, {} if differs_at is None else where[differs_at])


@dataclass(slots=True, frozen=True)
class Contradiction:
    """A majority of the voters agrees at `index`, and this node differs.

    Attributes:
        index: the newest such index.
        what: `state` or `log`.
        own, majority: the two digests.
    """

    index: int
    what: str
    own: str
    majority: str


def contradiction(
    membership: Membership,
    own: Mapping[int, StateDigest],
    reported: Mapping[int, Mapping[int, StateDigest]],
) -> Contradiction | None:
    """The newest index at which a majority of the voters has one digest and this node another; None if there is none.

    Digests are compared only at equal indexes and equal versions. A member without a digest counts for no side. In a
    joint phase both sets of voters need a majority.

    Args:
        membership: the effective configuration.
        own: this node's digests by index.
        reported: those of the other members, by member.
    """
    for index in sorted(own, reverse=True):
        mine = own[index]
        others = {
            member: digests[index]
            for member, digests in reported.items()
            if index in digests and comparable(digests[index], mine)
        }
        states = {member: digest.state for member, digest in others.items()}
        logs = {member: digest.log for member, digest in others.items() if digest.log}
        for what, ours, theirs in (("state", mine.state, states), ("log", mine.log, logs)):
            majority = _majority(membership, theirs)
            if majority is not None and ours and majority != ours:
                return Contradiction(index, what, ours, majority)
    return None


def comparable(one: StateDigest, other: StateDigest) -> bool:
    """Whether both digests are of one version; only then do they have to be equal."""
    return (one.rules, one.machine_version) == (other.rules, other.machine_version)


def _majority(membership: Membership, digests: Mapping[int, str]) -> str | None:
    """The digest that a majority of the voters has, or None."""
    for digest in sorted({*digests.values()}):
        votes = {member: True for member, other in digests.items() if other == digest}
        if membership.voters and vote_result(membership, votes) == "won":
            return digest
    return None
