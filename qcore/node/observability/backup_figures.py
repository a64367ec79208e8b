"""`BackupFigures`: what a node shows of its scheduled backups."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(slots=True)
class BackupFigures:
    """What a node counts about scheduled backups.

    Attributes:
        interval_s: the time between two backups, seconds; 0 if the node takes none.
        taken, failures: backups that this process wrote, and attempts that failed.
        last_index: the last index of the newest backup in the directory, or 0.
        last_at: when that one was taken, seconds since the Unix epoch, or 0.
        last_bytes: its size, if this process wrote it.
        last_seconds: how long this process wrote it, seconds.
        problem: why the last attempt failed; None after a success.
    """

    interval_s: int = 0
    taken: int = 0
    failures: int = 0
    last_index: int = 0
    last_at: float = 0.0
    last_bytes: int = 0
    last_seconds: float = 0.0
    problem: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """What the metrics object has of it: nothing without a directory for backups."""
        if not self.interval_s:
            return {}
        figures: dict[str, JsonValue] = {
            "interval_s": self.interval_s,
            "taken": self.taken,
            "failures": self.failures,
            "last_index": self.last_index,
            "last_at": self.last_at,
            "problem": self.problem,
        }
        return {"backups": figures}
