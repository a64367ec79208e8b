"""`EventInbox`: where the handlers of a node put what its replica has to do."""

from __future__ import annotations

from typing import Protocol

from qcore.replica.events import ClientRequest, ReplicaEvent


class EventInbox(Protocol):
    """Takes the events for the replica; see `qcore.node.runtime.inbox.Inbox`."""

    def add_event(self, event: ReplicaEvent) -> None:
        """Queue an event of the node itself."""

    def add_request(self, request: ClientRequest) -> None:
        """Queue a request of a client of this node."""
