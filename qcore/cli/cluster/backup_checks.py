"""The check of scheduled backups in `qcore cluster health`."""

from __future__ import annotations

from typing import Final

from qcore.cli.cluster.node_metrics import MetricsOrError
from qcore.errors import QcoreError

#: A backup is late after this many intervals, and the slack, seconds.
_INTERVALS: Final = 2
_SLACK_S: Final = 60.0


def backup_warnings(
    members: dict[str, int], responses: list[MetricsOrError], now_s: float
) -> list[str]:
    """Warn if a member's last backup failed, or if no member has a recent one.

    Args:
        members: ids by address.
        responses: in the order of `members`.
        now_s: seconds since the Unix epoch.
    """
    found = {
        address: backups
        for address, response in zip(members, responses, strict=True)
        if not isinstance(response, QcoreError) and (backups := response["qcore"].get("backups"))
    }
    warnings = [
        f"{address}: its last backup failed: {backups['problem']}"
        for address, backups in found.items()
        if backups["problem"]
    ]
    if not found:
        return warnings
    newest = max(backups["last_at"] for backups in found.values())
    late_s = _INTERVALS * min(backups["interval_s"] for backups in found.values()) + _SLACK_S
    if newest == 0:
        warnings.append("no member has written a scheduled backup yet")
    elif now_s - newest > late_s:
        warnings.append(
            f"the newest scheduled backup is {(now_s - newest) / 60:.0f} minutes old: look at the log of the followers"
        )
    return warnings
