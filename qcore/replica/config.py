"""`ReplicaConfig`: the settings of a replica."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.config import RaftConfig
from qcore.core.version import LATEST_RULES
from qcore.errors import ConfigError


@dataclass(slots=True, frozen=True)
class ReplicaConfig:
    """Settings of a `Replica`.

    Attributes:
        raft: settings of the Raft core.
        max_command_bytes: a larger command or query is rejected (`TooLarge`) before it is appended.
        max_pending_requests: how many client requests may wait for an outcome; beyond it `Overloaded`.
        max_pending_bytes: how many bytes their payloads may have together; beyond it `Overloaded`.
        max_admin_requests: how many membership changes, catch-ups of learners and transfers may wait for an outcome;
            beyond it `Overloaded`.
        snapshot_entries, snapshot_bytes: take a snapshot when this many entries, or bytes of entries, were applied
            since the last one; 0 switches the criterion off. If the last snapshot is larger than twice
            `snapshot_bytes`, the limit is half its size.
        keep_entries, keep_bytes: how many entries before a snapshot, and how many bytes of them, stay in the log for
            slow followers.
        max_rules: the newest apply rules that this node supports; a lower number holds the cluster back
            (`qcore.core.version`).

    Raises:
        ConfigError: a value is out of range; the message names the field.
    """

    raft: RaftConfig
    max_command_bytes: int = 1024 * 1024
    max_pending_requests: int = 8192
    max_pending_bytes: int = 64 * 1024 * 1024
    max_admin_requests: int = 64
    snapshot_entries: int = 0
    snapshot_bytes: int = 0
    keep_entries: int = 1000
    keep_bytes: int = 64 * 1024 * 1024
    max_rules: int = LATEST_RULES

    def __post_init__(self) -> None:
        for name in (
            "max_command_bytes",
            "max_pending_requests",
            "max_pending_bytes",
            "max_admin_requests",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("snapshot_entries", "snapshot_bytes", "keep_entries", "keep_bytes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if not 1 <= self.max_rules <= LATEST_RULES:
            raise ConfigError(
                f"max_rules is {self.max_rules}; this program knows the apply rules 1 to {LATEST_RULES}"
            )
