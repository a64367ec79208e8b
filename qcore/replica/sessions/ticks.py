"""Ticks: session entries that the leader proposes so that sessions expire on an idle cluster (from rules 2 on).

Parts of the state machine may expire, too, such as leases (`qcore.machines.interface.SupportsExpiry`). What follows
about sessions is true of them.

A session ends when an entry of kind `session` is applied whose `clock_us` lies after its lifetime. On an idle cluster
there is no such entry, so the leader appends one, `["tick"]`, when the first expiry is due by its cluster clock.
The tick's clock decides which sessions have expired when the tick is applied: a client may have used a session after
the tick was proposed.

| why a tick is due | at which value of the cluster clock |
|---|---|
| a session expires | its end, rounded up to `EXPIRY_GRANULARITY_US`, so that expiries close together share a tick |
| something will expire, and no recent entry carries the clock | `MAX_CLOCK_GAP_US` after that of the newest entry |

The second rule bounds the cost of a leader change: the next leader begins with the newest clock in its log. Without it,
sessions would never expire if leaders changed often enough. Without anything that expires there are no ticks.
"""

from __future__ import annotations

from typing import Final

from qcore.core.effects import ProposalAccepted
from qcore.core.events import Propose
from qcore.core.raft_server import NEVER
from qcore.machines.interface import StateMachine, expiring_part
from qcore.replica.replica_context import ReplicaContext
from qcore.replica.sessions.session_table import SESSION_TICK, SessionTable

#: Expiries within this much of the cluster clock share a tick.
EXPIRY_GRANULARITY_US: Final = 100_000
#: While there is a leader and a session is open, the newest clock in the log is never older than this.
MAX_CLOCK_GAP_US: Final = 10_000_000


class SessionTicks:
    """Decides when the leader proposes a tick, one at a time.

    Args:
        replica: the replica.
        sessions: its session table.
        machine: its state machine, parts of which may expire, too.
        retry_us: how long to wait after the core has rejected a tick.
    """

    def __init__(
        self,
        replica: ReplicaContext,
        sessions: SessionTable,
        machine: StateMachine,
        retry_us: int,
    ) -> None:
        self._replica = replica
        self._sessions = sessions
        self._expiring = expiring_part(machine)
        self._retry_us = retry_us
        self._pending = (0, 0)  # (term, index) of the newest tick that this leader appended
        self._not_before = 0

    @property
    def needed(self) -> bool:
        """Whether anything will expire."""
        if self._sessions.uses_cluster_clock and len(self._sessions):
            return True
        return self._expiring is not None and self._expiring.next_expiry_us() is not None

    def next_deadline(self) -> int:
        """When to step at the latest, µs; NEVER if no tick will be due at this node."""
        if not self.needed:
            return NEVER
        core = self._replica.core
        if not core.has_committed_in_term or self._is_pending():
            return NEVER
        return max(core.time_when_clock_shows(self._due()), self._not_before)

    def advance(self, wall_us: int) -> None:
        """After each step: propose a tick if one is due."""
        replica = self._replica
        if self.next_deadline() > replica.now or replica.has_apply_backlog:
            return
        effects = replica.step_core(Propose([SESSION_TICK], wall_us, ["session"]))
        outcome = effects[0]
        if isinstance(outcome, ProposalAccepted):
            self._pending = outcome.term, outcome.first_index
        else:
            self._not_before = replica.now + self._retry_us

    def _is_pending(self) -> bool:
        term, index = self._pending
        return term == self._replica.core.term and index > self._replica.applied_index

    def _due(self) -> int:
        """The cluster clock at which the next tick is due."""
        due = self._replica.core.last_clock_us + MAX_CLOCK_GAP_US
        sessions = self._sessions
        ends = (
            sessions.next_expiry_us() if sessions.uses_cluster_clock else None,
            None if self._expiring is None else self._expiring.next_expiry_us(),
        )
        for end in ends:
            if end is not None:
                due = min(due, -(-end // EXPIRY_GRANULARITY_US) * EXPIRY_GRANULARITY_US)
        return due
