"""Loads the topology file through the log, once in the life of a cluster.

Every node checks the file when it starts. After that the rule is: a node that has a file, sees a leader
and finds that nothing at all was written to the store yet proposes it. The node that was
initialised does so at once, the leader too, the others a little later, in case those are gone.
The command changes nothing where a topology was loaded before, so it does not matter how many
propose it, and a crash between `Init` and the load is made good by whoever comes next. A node that
restarts or joins later finds a store that is not empty, and does nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from qcore.core.effects import RoleChanged
from qcore.errors import StoreError
from qcore.node.observability.logs import NodeLog
from qcore.replica.events import Reply
from qcore.replica.messages import RequestKind

_FOLLOWER_DELAY_S: Final = 2.0
_RETRY_DELAY_S: Final = 0.5
_INIT_TIMEOUT_S: Final = 10.0

Submit = Callable[[RequestKind, str, Callable[[Reply], None]], None]


class TopologyLoader:
    """Proposes the topology until the store holds one.

    Args:
        command: the log command that loads it.
        is_pristine: whether the store is still as new.
        submit: proposes a command and calls back with the outcome.
        log: where to say so.
    """

    def __init__(
        self, command: str, is_pristine: Callable[[], bool], submit: Submit, log: NodeLog
    ) -> None:
        self._command = command
        self._is_pristine = is_pristine
        self._submit = submit
        self._log = log
        self._proposing = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[Callable[[], None]] = []
        self._stopped = False

    def stop(self) -> None:
        """Propose nothing any more."""
        self._stopped = True
        self._disarm()

    def role_changed(self, change: RoleChanged) -> None:
        """Role, term or leader changed: a leader proposes at once, a follower gives it some time."""
        if change.role == "leader":
            self._propose()
        elif change.leader_id is not None:
            self._arm(_FOLLOWER_DELAY_S)

    def after_init(self, done: Callable[[], None]) -> None:
        """This node has begun a cluster: propose at once, and call `done` when that has ended.

        Or after some seconds: the cluster has begun in any case, also if its quorum is lost meanwhile, and
        whoever sent `Init` must not wait for ever.
        """
        self._waiting.append(done)
        asyncio.get_running_loop().call_later(_INIT_TIMEOUT_S, self._finish)
        self._propose()

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay_s, self._propose)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _propose(self) -> None:
        self._disarm()
        if self._proposing or self._stopped:
            return
        if not self._is_pristine():
            self._finish()
            return
        self._proposing = True
        self._submit("write", self._command, self._on_outcome)

    def _on_outcome(self, reply: Reply) -> None:
        self._proposing = False
        error = reply.error
        if error is None or isinstance(error, StoreError):
            self._log.info("topology loaded", index=reply.index, result=(reply.result or "")[:200])
            self._finish()
        else:
            self._log.warning("topology not loaded yet", why=str(error))
            self._arm(_RETRY_DELAY_S)

    def _finish(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done()
