"""`BackupConfig`: the settings of scheduled backups."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qcore.settings import check_bounds, setting


@dataclass(slots=True, frozen=True)
class BackupConfig:
    """Settings of scheduled backups. The text beside each field gives its meaning, unit and bounds.

    Raises:
        ConfigError: a value is out of bounds; the message names the field.
    """

    backup_dir: Path | None = field(
        default=None,
        metadata=setting(
            "Existing directory for scheduled backups, best on another disk. One follower writes them, so give the "
            "setting to all nodes; the leader does only if no follower is connected. Without it there are none."
        ),
    )
    backup_interval_s: int = field(
        default=3600,
        metadata=setting("Time from one backup to the next.", unit="s", minimum=1),
    )
    backup_keep: int = field(
        default=24,
        metadata=setting(
            "How many backups of the cluster a node keeps in its directory. It removes older ones after it has written "
            "and verified a new one.",
            minimum=1,
        ),
    )

    def __post_init__(self) -> None:
        check_bounds(self)
