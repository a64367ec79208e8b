"""`RecoveryRefused`: what was asked could lose something, or is not needed."""

from __future__ import annotations

from qcore.errors import QcoreError


class RecoveryRefused(QcoreError, code="RecoveryRefused"):
    """A repair, a restore or a recovery is refused, and nothing was changed. The text says what to do instead."""
