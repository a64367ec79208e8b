"""Errors that come off the wire: text and `detail` become the exception that they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qcore import errors
from qcore.errors import (
    ChangeRefused,
    ConfigError,
    NotLeader,
    QcoreError,
    Refused,
    RemoteProtocolError,
    Scalar,
    StoreError,
)

_BY_CODE: Final[dict[str, type[QcoreError]]] = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, QcoreError) and value is not NotLeader
}


def error_from(text: str, detail: Mapping[str, Scalar] | None) -> QcoreError:
    """The exception for an error text and its `detail`.

    Kinds of `StoreError` that only the store knows become a plain `StoreError`. A `ConfigError` of the
    node's is `Refused`: it is not about this program's configuration. Without a detail the error is a
    `RemoteProtocolError`: a node of this version always gives one.
    """
    if detail is None:
        return RemoteProtocolError(text)
    code = str(detail.get("code"))
    if code == NotLeader.__name__:
        leader_id, leader_addr = detail.get("leader_id"), detail.get("leader_addr")
        return NotLeader(
            leader_id if isinstance(leader_id, int) else None,
            leader_addr if isinstance(leader_addr, str) else None,
        )
    if code == ChangeRefused.__name__:
        name = str(detail.get("name"))
        return ChangeRefused(name, text.removeprefix(f"refused ({name}): "))
    if code == ConfigError.__name__:
        return Refused(text)
    known = _BY_CODE.get(code)
    return known(text) if known is not None else StoreError(text)
