"""What a node rejects while its disk is full. The drivers of real and of simulated nodes share this rule."""

from __future__ import annotations

from qcore.errors import DiskFull
from qcore.replica.requests.pending import AnyRequestKind


def writes_to_log(kind: AnyRequestKind) -> bool:
    """Whether a request of this kind appends to the log, so that a node with a full disk rejects it."""
    return kind in ("write", "session", "access")


def no_space_left(where: object, why: DiskFull) -> DiskFull:
    """The error with which a node rejects writes while its disk is full.

    Args:
        where: the place of the data.
        why: the error of the write that found no space.
    """
    return DiskFull(f"no space is left for the log in {where}: {why}")
