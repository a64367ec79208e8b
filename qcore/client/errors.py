"""Errors in responses: their exceptions, also for a server that is no node of qcore; the pause before a retry."""

from __future__ import annotations

import random
from typing import Final

from pydantic import ValidationError

from qcore.errors import (
    ConfigError,
    Overloaded,
    QcoreError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    from_wire,
)
from qcore.transport.address import Address

#: What code raises that reads such a response.
READ_ERRORS: Final = (ValueError, TypeError, LookupError, AttributeError)


class ClientClosed(ConfigError):
    """The program has closed the client that it uses. A background task that meets this need not report it."""


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


def reason(error: Exception) -> str:
    """The class and the text of an error, in one line."""
    text = str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        text = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {' '.join(text.split())[:200]}"


def unreadable(endpoint: Address, error: Exception) -> RemoteProtocolError:
    """The error for a response that cannot be read."""
    return RemoteProtocolError(
        f"the response of {endpoint} cannot be read ({reason(error)}): is it a node of qcore?"
    )
