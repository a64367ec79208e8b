"""`RequestQuotas`: bounds the admin, session and snapshot requests in progress, and reserves room for operators."""

from __future__ import annotations

from qcore.node.config import NodeConfig
from qcore.replica.requests.flow_control import FlowControl
from qcore.replica.requests.requested_snapshots import MAX_SNAPSHOT_REQUESTS
from qcore.transport.server.server import ServerConnection
from qcore.transport.wire import CloseSession, KeepSession, OpenSession, SaveSnapshot


class RequestQuotas:
    """Counts the requests in progress other than clients' reads and writes.

    The replica bounds the membership changes and snapshot requests of all clients together. This class gives clients
    that are not operators three quarters of those bounds.

    Args:
        config: `max_session_requests`, `max_admin_requests`.
        max_retry_us: the longest retry hint, see `FlowControl`.
        now: µs.
    """

    def __init__(self, config: NodeConfig, max_retry_us: int, now: int) -> None:
        def flow(limit: int) -> FlowControl:
            return FlowControl(max(1, limit), 1, max_retry_us, now)

        self._sessions = flow(config.max_session_requests)
        self._changes = flow(config.replica.max_admin_requests * 3 // 4)
        self._snapshots = flow(MAX_SNAPSHOT_REQUESTS * 3 // 4)
        self._admin = flow(config.replica.max_admin_requests)

    def flow_for(self, connection: ServerConnection, message: object) -> FlowControl:
        """The quota that a request counts against."""
        if connection.admin:
            return self._admin
        match message:
            case OpenSession() | KeepSession() | CloseSession():
                return self._sessions
            case SaveSnapshot():
                return self._snapshots
            case _:
                return self._changes
