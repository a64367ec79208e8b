"""The promises of founders: of all foundings that N founders propose, at most one is decided.

This is Paxos for a single value (Lamport, "Paxos Made Simple"). The value is a `Founding`: a new cluster with all its
members. Each founder proposes and votes. A ballot has two steps:

| step | the proposer | each voter |
|---|---|---|
| promise | asks for a promise | promises to take part in no lower ballot; reports what it has accepted |
| accept | has promises of a majority; proposes a founding | accepts it, unless it has promised a higher ballot |

Of the foundings that the voters of the first step have accepted, the proposer proposes the one of the highest ballot.
If there is none, it proposes a new one. The founding is decided once a majority has accepted it. Then the cluster may
begin.

A voter stores what it promises and accepts before it answers, and never forgets it. A promise is exclusive, and a
higher ballot takes it over: so a proposer that dies blocks nothing. Once a founding is decided, each later ballot
learns of it, because two majorities of the same voters have a voter in common. So there is never a second one.

This needs the same voters in all ballots. The voters are the founders that the founding lists, by id and public key. A
data directory that was emptied has another key. A voter that has accepted a founding rejects ballots of other founders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

#: The highest round. A ballot adds one, so only a faulty founder comes near.
MAX_ROUND: Final = 2**53
#: The furthest that one vote may raise the round. A founder adds one in half a second: no sound one is further ahead.
MAX_JUMP: Final = 2**32

#: The founders by which two lists are compared: their ids and public keys, in the order of the ids.
Identities = tuple[tuple[int, str], ...]


class Ballot(NamedTuple):
    """The number of an attempt. No two proposers have the same, and they are ordered."""

    round: int
    node_id: int


NO_BALLOT: Final = Ballot(0, 0)


@dataclass(slots=True, frozen=True)
class Founder:
    """One of the nodes that found a cluster.

    Attributes:
        node_id: its id, from 1 to N.
        address: the `host:port` at which others reach it.
        public_key: its key, which identifies its data directory.
    """

    node_id: int
    address: str
    public_key: str


@dataclass(slots=True, frozen=True)
class Founding:
    """A cluster that may begin.

    Attributes:
        token: a random text, which no other founding has.
        cluster_id: the id of the cluster: a digest of token, founders and version.
        founders: all members, in the order of their ids.
    """

    token: str
    cluster_id: str
    founders: tuple[Founder, ...]

    @property
    def identities(self) -> Identities:
        """See `Identities`."""
        return identities_of(self.founders)


def identities_of(founders: tuple[Founder, ...]) -> Identities:
    """See `Identities`."""
    return tuple((each.node_id, each.public_key) for each in founders)


def majority(founders: int) -> int:
    """How many of so many founders decide."""
    return founders // 2 + 1


@dataclass(slots=True, frozen=True)
class Acceptance:
    """A founding that a voter has accepted, and the ballot."""

    ballot: Ballot
    founding: Founding


@dataclass(slots=True, frozen=True)
class Promises:
    """What a voter must not forget.

    Attributes:
        promised: it takes part in no lower ballot.
        accepted: the newest founding that it has accepted; None if there is none.
    """

    promised: Ballot = NO_BALLOT
    accepted: Acceptance | None = None


class VoteRejected(Exception):  # never leaves this package: it becomes a vote that is not granted
    """A voter does not promise or accept. The text gives the reason."""


def after_promise(promises: Promises, ballot: Ballot, founders: Identities) -> Promises:
    """What the voter must store before it answers a request for a promise.

    Raises:
        VoteRejected: it does not promise.
    """
    _check(promises, ballot, founders)
    return Promises(ballot, promises.accepted)


def after_acceptance(promises: Promises, ballot: Ballot, founding: Founding) -> Promises:
    """What the voter must store before it reports that it has accepted a founding.

    Raises:
        VoteRejected: it does not accept.
    """
    _check(promises, ballot, founding.identities)
    return Promises(ballot, Acceptance(ballot, founding))


def check_founders(promises: Promises, founders: Identities) -> None:
    """Check that a voter with these promises may vote for these founders.

    Raises:
        VoteRejected: it has accepted a founding of others.
    """
    accepted = promises.accepted
    if accepted is not None and accepted.founding.identities != founders:
        raise VoteRejected(
            f"it has accepted the founding of cluster {accepted.founding.cluster_id} by other founders: "
            f"{difference(accepted.founding.identities, founders)}"
        )


def is_absurd(ballot: Ballot, known: Ballot) -> bool:
    """Whether no sound founder can be at this ballot when this is the highest one that is known."""
    return ballot.round > known.round + MAX_JUMP


def _check(promises: Promises, ballot: Ballot, founders: Identities) -> None:
    check_founders(promises, founders)
    if is_absurd(ballot, promises.promised):
        raise VoteRejected(
            f"the round {ballot.round} is absurdly far above {promises.promised.round}, the highest that it has "
            f"promised: founder {ballot.node_id} is faulty"
        )
    if ballot < promises.promised:
        raise VoteRejected(
            f"it has promised ballot {promises.promised.round} to node {promises.promised.node_id}"
        )


def difference(accepted: Identities, other: Identities) -> str:
    """How two lists of founders differ, in words."""
    mine, theirs = dict(accepted), dict(other)
    changed = [node for node in mine if node in theirs and mine[node] != theirs[node]]
    if changed:
        return f"node {changed[0]} had another public key, so its data directory was replaced"
    return f"nodes {sorted(mine)} and not {sorted(theirs)}"
