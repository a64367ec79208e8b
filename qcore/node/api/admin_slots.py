"""How many requests about the cluster may be in progress, by kind: an operator finds room when others ask a lot."""

from __future__ import annotations

from qcore.node.config import NodeConfig
from qcore.replica.requests.flow_control import FlowControl
from qcore.replica.requests.state_copies import MAX_SNAPSHOT_REQUESTS
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import CloseSession, KeepSession, OpenSession, TakeSnapshot


class RequestQuotas:
    """The requests in progress that are no reads or writes of clients.

    The replica bounds changes and copies of the state, whoever asks for them: at this door all but operators together
    get three quarters of that.

    Args:
        config: `max_session_requests`, `max_admin_requests`.
        max_retry_us: the longest hint, see `FlowControl`.
        now: µs.
    """

    def __init__(self, config: NodeConfig, max_retry_us: int, now: int) -> None:
        def flow(number: int) -> FlowControl:
            return FlowControl(max(1, number), 1, max_retry_us, now)

        self._sessions = flow(config.max_session_requests)
        self._changes = flow(config.max_admin_requests * 3 // 4)
        self._copies = flow(MAX_SNAPSHOT_REQUESTS * 3 // 4)
        self._admin = flow(config.max_admin_requests)

    def flow_for(self, connection: ServerConnection, message: object) -> FlowControl:
        """Where a request counts."""
        if connection.admin:
            return self._admin
        match message:
            case OpenSession() | KeepSession() | CloseSession():
                return self._sessions
            case TakeSnapshot():
                return self._copies
            case _:
                return self._changes
