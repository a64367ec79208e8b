"""Whether a request may be appended, according to the users that this node knows."""

from __future__ import annotations

from qcore.core.version import HOW_TO_RAISE
from qcore.errors import ChangeRefused, QcoreError
from qcore.replica.access.access_records import MAX_NAME_CHARS
from qcore.replica.access.access_table import ACCESS_RULES, AccessTable
from qcore.replica.access.grants import denied
from qcore.replica.requests.pending import PendingRequest


def request_denial(access: AccessTable, rules: int, request: PendingRequest) -> QcoreError | None:
    """The error for a write that must not be appended; None if it may be valid. It is checked again when it is applied.

    Args:
        access: the users.
        rules: the active apply rules.
        request: one that goes through the log.
    """
    if len(request.user) > MAX_NAME_CHARS or not request.user.isascii():
        return denied(request.user[:MAX_NAME_CHARS], "a user")  # a peer may send any text
    if request.kind != "access":
        return access.denial(request.user, "write") if access.active else None
    if rules < ACCESS_RULES:
        return ChangeRefused(
            "not_ready",
            f"users need apply rules {ACCESS_RULES}, and the cluster has {rules}: {HOW_TO_RAISE}",
        )
    return access.rejection(request.payload, request.user)
