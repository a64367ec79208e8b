"""`Proposal`: one ballot of a proposer; see `qcore.node.discovery.protocol.founding`."""

from __future__ import annotations

from qcore.node.discovery.protocol.founding import (
    Acceptance,
    Ballot,
    Founding,
    Identities,
    majority,
)


class Proposal:
    """Counts the votes of one ballot.

    Args:
        ballot: the ballot, which this proposer uses once.
        fresh: the founding to propose if no voter has accepted one. Its founders are the voters.
        wants_all: whether a fresh founding needs the promise of all voters, not only of a majority. That is more than
            safety needs: it also finds the founding that a voter remembers and others have lost with their data.
    """

    def __init__(self, ballot: Ballot, fresh: Founding, *, wants_all: bool = False) -> None:
        self.ballot = ballot
        self._fresh = fresh
        self._voters = {each.node_id for each in fresh.founders}
        self._needed = majority(len(self._voters))
        self._wants_all = wants_all
        self._promised: set[int] = set()
        self._accepted: set[int] = set()
        self._newest: Acceptance | None = None
        self._chosen: Founding | None = None

    @property
    def founders(self) -> Identities:
        """The voters, by id and key."""
        return self._fresh.identities

    def promised(self, node_id: int, accepted: Acceptance | None) -> None:
        """A voter has promised this ballot, and has accepted this before."""
        if node_id not in self._voters or self._chosen is not None:
            return
        self._promised.add(node_id)
        if accepted is not None and (self._newest is None or accepted.ballot > self._newest.ballot):
            self._newest = accepted

    def founding(self) -> Founding | None:
        """The founding to propose; None while there are not enough promises. It never changes."""
        if self._chosen is None and len(self._promised) >= self._needed:
            if self._newest is not None:
                self._chosen = self._newest.founding
            elif not self._wants_all or self._promised == self._voters:
                self._chosen = self._fresh
        return self._chosen

    def accepted(self, node_id: int) -> None:
        """A voter has accepted the founding in this ballot."""
        if node_id in self._voters and self._chosen is not None:
            self._accepted.add(node_id)

    @property
    def is_decided(self) -> bool:
        """Whether a majority has accepted the founding, so that no other one can ever be decided."""
        return len(self._accepted) >= self._needed
