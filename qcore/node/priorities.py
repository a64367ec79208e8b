"""A leader says in the log when too many of the voters never lead, and when that is over.

Priorities are settings of the nodes. A restart may change them, and the leader learns it from the next answer, so
that no event of the node's own marks the moment: it is looked for once a second.
"""

from __future__ import annotations

import asyncio
from typing import Final

from qcore.core.raft import RaftCore
from qcore.node.logs import NodeLog

#: How often the leader looks, seconds.
INTERVAL_S: Final = 1.0


class PriorityWatch:
    """Compares what the core says with what it said last.

    Args:
        core: looked at.
        log: gets a line for each change.
    """

    def __init__(self, core: RaftCore, log: NodeLog) -> None:
        self._core = core
        self._log = log
        self._said: str | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look now, and again and again until `stop`."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Write a line if what the leader knows of the voters' priorities has become another fault, or none.

        A node that no longer leads knows nothing, and says nothing: the next leader does.
        """
        fault = self._core.status().priority_fault
        if self._core.role != "leader":
            self._said = None
        elif fault != self._said:
            self._said = fault
            if fault is None:
                self._log.info("priorities are well again: enough voters may lead")
            else:
                self._log.warning("too many voters never lead", why=fault)
