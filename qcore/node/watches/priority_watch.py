"""`PriorityWatch`: logs when voters that never lead (priority 0) are a problem, and when the problem is over.

| line | logged by |
|---|---|
| this voter never leads | a voter of priority 0 |
| too many voters never lead | the leader, which knows all priorities; also a voter whose priority alone suffices |
| there is no leader, and this node cannot become one | a voter of priority 0 without a leader for a while |

The last line is for a cluster in which no voter may lead, because then no voter learns the others' priorities.

Priorities are settings of the nodes, so a restart may change them. The leader learns them from responses, and no event
marks the change, so the watch checks once a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qcore.core.status import CoreStatus
from qcore.node.observability.logs import NodeLog

#: There must be no leader at this many checks in a row, because an election takes some time.
CONSECUTIVE_CHECKS: Final = 5


class PriorityWatch:
    """Compares the core's status with that of the previous check.

    Args:
        status: returns the core's status.
        log: gets a line for each change.
    """

    def __init__(self, status: Callable[[], CoreStatus], log: NodeLog) -> None:
        self._status = status
        self._log = log
        self._led = False
        self._logged_problem: str | None = None
        self._logged_own = False
        self._checks_without_leader = 0

    def check(self) -> None:
        """Log each change. Call it once a second."""
        status = self._status()
        never_leads = status.priority == 0 and status.node_id in status.never_lead
        self._check_own_priority(status, never_leads)
        self._check_all_priorities(status)
        self._check_leader(status, never_leads)

    def _check_own_priority(self, status: CoreStatus, never_leads: bool) -> None:
        if never_leads and not self._logged_own:
            self._log.info(
                "this voter has priority 0 and never leads", voters=str([*status.membership.voters])
            )
        self._logged_own = never_leads

    def _check_all_priorities(self, status: CoreStatus) -> None:
        leads, problem = status.role == "leader", status.priority_problem
        if leads != self._led:
            # A former leader forgets the others' priorities: that does not end the problem.
            self._led, self._logged_problem = leads, None
        if problem == self._logged_problem:
            return
        self._logged_problem = problem
        if problem is None:
            self._log.info("priorities are fine again: enough voters may lead")
        else:
            self._log.warning("too many voters never lead", why=problem)

    def _check_leader(self, status: CoreStatus, never_leads: bool) -> None:
        if not never_leads or status.leader_id is not None:
            if self._checks_without_leader >= CONSECUTIVE_CHECKS and never_leads:
                self._log.info("a leader is known again", leader=status.leader_id)
            self._checks_without_leader = 0
            return
        self._checks_without_leader += 1
        if self._checks_without_leader == CONSECUTIVE_CHECKS:
            self._log.warning(
                "no leader is known, and this voter has priority 0: no node can lead unless another voter has a "
                "higher one",
                why="a node learns the other priorities from the leader only: `qcore cluster health` asks all nodes",
            )
