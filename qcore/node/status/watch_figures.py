"""`WatchFigures`: what a node knows of its clients' watches, for its metrics."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from qcore.node.status.exposition import Exposition


@dataclass(slots=True, frozen=True)
class WatchFigures:
    """The watches of a node's clients, and the changes that it keeps for those that resume.

    Attributes:
        watches: the watches now.
        connections: the connections that have any.
        sent: the changes sent since the start.
        cut_off: the watches ended since the start, because the client read too slowly.
        compacted: the watches and registrations that needed changes which the node no longer had.
        history_changes: the changes that it keeps.
        history_bytes: about the memory that these take, bytes.
        history_first_index: the first log index of which it has all changes.
    """

    watches: int
    connections: int
    sent: int
    cut_off: int
    compacted: int
    history_changes: int
    history_bytes: int
    history_first_index: int

    def as_json(self) -> JsonValue:
        """The part of the metrics object."""
        return {
            "watches": self.watches,
            "connections": self.connections,
            "sent": self.sent,
            "cut_off": self.cut_off,
            "compacted": self.compacted,
            "history": {
                "changes": self.history_changes,
                "bytes": self.history_bytes,
                "first_index": self.history_first_index,
            },
        }

    def add_to(self, page: Exposition) -> None:
        """Add them to the page of metrics."""
        page.gauge("qcore_watches", "Watches of this node's clients.", self.watches)
        page.gauge(
            "qcore_watching_connections", "Connections of clients with watches.", self.connections
        )
        page.counter("qcore_notifications_sent", "Changes sent to clients' watches.", self.sent)
        page.counter(
            "qcore_watches_cut_off",
            "Watches ended because the client read too slowly.",
            self.cut_off,
        )
        page.counter(
            "qcore_watches_compacted",
            "Watches and registrations that needed changes which this node no longer had.",
            self.compacted,
        )
        page.gauge(
            "qcore_watch_history_changes",
            "Changes kept for watches that resume.",
            self.history_changes,
        )
        page.gauge(
            "qcore_watch_history_bytes", "About the memory that these take.", self.history_bytes
        )
        page.gauge(
            "qcore_watch_history_first_index",
            "First log index of which this node has all changes.",
            self.history_first_index,
        )
