"""`LeaderWait`: how long requests wait for a leader before they fail."""

from __future__ import annotations

from typing import Final

from qcore.core.raft_server import NEVER
from qcore.replica.requests.forwarder import Forwarder
from qcore.replica.requests.pending import PendingRequest
from qcore.replica.requests.writes import Writes

_NONE_WAITS: Final[list[PendingRequest]] = []  # one list, because almost every step returns it


class LeaderWait:
    """Watches which node leads. Requests wait for an election timeout without a leader, then they fail.

    After that time this node is probably cut off, or there is no quorum.

    Args:
        writes, forwarder: the requests that wait for a leader.
        longest_timeout_us: the longest election timeout.
    """

    def __init__(
        self,
        writes: Writes,
        forwarder: Forwarder,
        longest_timeout_us: int,
    ) -> None:
        self._writes = writes
        self._forwarder = forwarder
        self._longest_timeout_us = longest_timeout_us
        self._leader_id: int | None = None
        self._lost_at: int | None = None

    def next_deadline(self) -> int:
        """When the waiting requests fail, µs; NEVER if none waits, or if there is a leader."""
        if self._lost_at is None or not (len(self._writes) or len(self._forwarder)):
            return NEVER
        return self._lost_at + self._longest_timeout_us

    def advance(self, leader_id: int | None, now: int) -> list[PendingRequest]:
        """Notice a change of leader; return the requests that have waited too long.

        Args:
            leader_id: the leader, if one is known.
            now: µs on the monotonic clock.
        """
        if leader_id != self._leader_id:
            self._leader_id = leader_id
            self._lost_at = now if leader_id is None else None
            if leader_id is not None:
                self._forwarder.leader_changed(leader_id)
        if self._lost_at is None or self.next_deadline() > now:
            return _NONE_WAITS
        self._lost_at = None
        return [*self._writes.appended(), *self._forwarder.waiting()]
