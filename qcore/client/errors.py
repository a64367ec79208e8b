"""Errors in responses: `decode_error` turns them into exceptions, `retry_delay` chooses the pause before a retry."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from qcore import errors
from qcore.errors import (
    ChangeRefused,
    ConfigError,
    DetailValue,
    NotLeader,
    Overloaded,
    QcoreError,
    Refused,
    RemoteProtocolError,
    StoreError,
    TransferFailed,
)

_BY_CODE: Final[dict[str, type[QcoreError]]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, QcoreError) and value is not NotLeader
}


def decode_error(text: str, detail: Mapping[str, DetailValue] | None) -> QcoreError:
    """The exception for an error text and its `detail`.

    Subclasses of `StoreError` that only the entity store knows become a plain `StoreError`. A node's `ConfigError`
    becomes `Refused`, because it is not about this program's configuration. An error without a detail becomes a
    `RemoteProtocolError`, because nodes always send one.
    """
    if detail is None:
        return RemoteProtocolError(text)
    code = str(detail.get("code"))
    if code == NotLeader.__name__:
        leader_id, leader_addr = detail.get("leader_id"), detail.get("leader_addr")
        return NotLeader(
            leader_id if isinstance(leader_id, int) else None,
            leader_addr if isinstance(leader_addr, str) else None,
            text,
        )
    if code == Overloaded.__name__:
        hint = detail.get("retry_after_ms")
        return Overloaded(text, max(1, hint) if type(hint) is int else 1)
    if code == ChangeRefused.__name__:
        name = str(detail.get("name"))
        return ChangeRefused(name, text.removeprefix(f"refused ({name}): "))
    if code == TransferFailed.__name__:
        leader_id, term = detail.get("leader_id"), detail.get("term")
        return TransferFailed(
            text,
            leader_id if isinstance(leader_id, int) else None,
            term if isinstance(term, int) else None,
        )
    if code == ConfigError.__name__:
        return Refused(text)
    known = _BY_CODE.get(code)
    return known(text) if known is not None else StoreError(text)


def retry_delay(error: QcoreError, pause_s: float, rng: random.Random) -> float:
    """How long to wait, seconds, before a request that ended in `error` is repeated.

    The delay is random, so clients spread out. If an overloaded node suggests a delay, the result is between that delay
    and one and a half times that.

    Args:
        error: the error of the last attempt.
        pause_s: the longest delay if the error names none.
        rng: the source of randomness.
    """
    if isinstance(error, Overloaded):
        return max(pause_s, error.retry_after_ms / 1000) * (1 + rng.random() / 2)
    return pause_s * (0.5 + rng.random() / 2)
