"""Ticks: session entries that a leader proposes so that sessions expire without a client's help (rules 2).

A session ends when an entry of kind `session` is applied whose `clock_us` lies behind its lifetime. On an idle cluster
no such entry would come, so the leader appends one, `["tick"]`, when the first expiry is due by its cluster clock. What
has expired is decided where the tick is applied, by the tick's own clock: between proposing and applying, a client may
have used the session.

| why a tick is due | at which value of the cluster clock |
|---|---|
| a session expires | its end, rounded up to `GRAIN_US`: many that end close together share a tick |
| sessions are open, and no entry has carried the clock for long | `MAX_GAP_US` after the newest entry's |

The second bounds what a change of leaders costs: the next leader begins with the newest clock in its log. Without it,
leaders that change before any session ends would keep every session for ever. No session, no tick.
"""

from __future__ import annotations

from typing import Final

from qcore.core.effects import ProposalAccepted
from qcore.core.events import Propose
from qcore.core.server import NEVER
from qcore.replica.owner import Owner
from qcore.replica.sessions.session_table import TICK, SessionTable

#: Expiries within this much of the cluster clock share a tick.
GRAIN_US: Final = 100_000
#: With open sessions, the newest clock in the log is never older than this while a leader works.
MAX_GAP_US: Final = 10_000_000


class Ticks:
    """Decides when the leader proposes a tick, one at a time.

    Args:
        owner: the replica.
        sessions: its table.
        retry_us: how long to wait after a tick that the core refused.
    """

    def __init__(self, owner: Owner, sessions: SessionTable, retry_us: int) -> None:
        self._owner = owner
        self._sessions = sessions
        self._retry_us = retry_us
        self._pending = (0, 0)  # (term, index) of the newest tick that this leader appended
        self._not_before = 0

    def next_deadline(self) -> int:
        """When to step at the latest, µs; NEVER if no tick will be due here."""
        if not self._sessions.counts_clock or not len(self._sessions):
            return NEVER
        core = self._owner.core
        if not core.has_committed_in_term or self._is_pending():
            return NEVER
        return max(core.clock_reaches(self._due()), self._not_before)

    def advance(self, wall_us: int) -> None:
        """After each step: propose a tick if one is due."""
        owner = self._owner
        if self.next_deadline() > owner.now or owner.catching_up:
            return
        effects = owner.step_core(Propose([TICK], wall_us, ["session"]))
        verdict = effects[0]
        if isinstance(verdict, ProposalAccepted):
            self._pending = verdict.term, verdict.first_index
        else:
            self._not_before = owner.now + self._retry_us

    def _is_pending(self) -> bool:
        term, index = self._pending
        return term == self._owner.core.term and index > self._owner.applied_index

    def _due(self) -> int:
        """The cluster clock at which a tick is wanted."""
        gap = self._owner.core.last_clock_us + MAX_GAP_US
        end = self._sessions.next_expiry_us()
        if end is None:
            return gap
        return min(gap, -(-end // GRAIN_US) * GRAIN_US)
