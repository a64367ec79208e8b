"""Errors in responses: `decode_error` turns them into exceptions, `retry_delay` chooses the pause before a retry."""

from __future__ import annotations

import random

from qcore.errors import (
    ConfigError,
    Overloaded,
    QcoreError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    from_wire,
)


def decode_error(text: str, detail: object) -> QcoreError:
    """The exception for an error text and its `detail`.

    A node's `ConfigError` becomes `Refused`, because it is not about this program's configuration. An error without a
    detail becomes a `RemoteProtocolError`, because nodes always send one.
    """
    if detail is None:
        return RemoteProtocolError(text)
    error = from_wire(text, detail)
    return Refused(text) if isinstance(error, ConfigError) else error


def retry_delay(error: QcoreError, pause_s: float, rng: random.Random) -> float:
    """How long to wait, seconds, before a request that ended in `error` is repeated.

    The delay is random, so clients spread out. If a node suggests a delay, the result is between that delay
    and one and a half times that.

    Args:
        error: the error of the last attempt.
        pause_s: the longest delay if the error names none.
        rng: the source of randomness.
    """
    if isinstance(error, Overloaded | QuotaExceeded) and error.retry_after_ms is not None:
        return max(pause_s, error.retry_after_ms / 1000) * (1 + rng.random() / 2)
    return pause_s * (0.5 + rng.random() / 2)
