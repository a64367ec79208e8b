"""`SilentLog`: the log of a simulated node. Its lines go nowhere: the trace shows what the node does."""

from __future__ import annotations

from qcore.errors import DetailValue
from qcore.node.observability.logs import NodeLog


class SilentLog(NodeLog):
    """A `NodeLog` that writes nothing."""

    def put(self, level: int, event: str, fields: dict[str, DetailValue]) -> None:
        """Do nothing."""

    def bug(self, event: str, error: BaseException) -> None:
        """Do nothing: the node stops because of the error, and the simulator reports that."""
