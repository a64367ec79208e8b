"""The options that the methods of a client share: consistency, session and timeout, and their checks."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, TypedDict

from qcore.client.request_sender import Json
from qcore.client.sessions.session import ClientSession
from qcore.display import truncate
from qcore.errors import ConfigError
from qcore.transport.perform_options import Stale

#: How a read is served, as on the wire; a mapping such as `{"stale": 5000}` means `Stale(5000)`.
Consistency: TypeAlias = (
    Literal["linearizable", "lease", "follower"] | Stale | Mapping[Literal["stale"], int]
)


class ReadOptions(TypedDict, total=False):
    """Options of the methods that read.

    Attributes:
        consistency: how the read is served; `linearizable` by default.
        timeout_s: how long the read may take, with all its retries; by default the client's `timeout_s`.
    """

    consistency: Consistency | None
    timeout_s: float | None


class WriteOptions(TypedDict, total=False):
    """Options of the methods that write.

    Attributes:
        session: the session in which the write takes effect once. By default the client uses a session that it opened.
        timeout_s: how long the write may take, with all its retries; by default the client's `timeout_s`.
    """

    session: ClientSession | None
    timeout_s: float | None


def check_options(options: ReadOptions | WriteOptions, known: type) -> None:
    """Reject options that a method does not have.

    A method takes its options as `**options`, so Python does not notice a name that is spelled wrong.

    Raises:
        TypeError: an option is unknown, as for any other argument.
        ConfigError: the session is not a `ClientSession`.
    """
    names = known.__annotations__
    for name in options:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            advice = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            raise TypeError(f"unexpected keyword argument {name!r}: {advice}")
    session = options.get("session")
    if session is not None and not isinstance(session, ClientSession):
        raise ConfigError(
            f"session: {truncate(repr(session))} is not a session: give the result of `await client.open_session()`"
        )


def check_timeout(value: object, name: str = "timeout_s") -> float:
    """Return a timeout, seconds.

    Raises:
        ConfigError: it is not a number above 0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ConfigError(f"{name}: {truncate(repr(value))} is not a number of seconds")
    if value <= 0:
        raise ConfigError(f"{name} is {value}: give a number of seconds above 0")
    return value


def encode_consistency(consistency: Consistency) -> Json:
    """The wire form.

    Raises:
        ConfigError: there is no such consistency.
    """
    match consistency:
        case "linearizable" | "lease" | "follower":
            return consistency
        case Stale(stale=milliseconds):
            return {"stale": milliseconds}
        case {"stale": milliseconds}:
            return {"stale": milliseconds}
    raise ConfigError(
        f"consistency: {truncate(repr(consistency))} is unknown: give 'linearizable', 'lease', 'follower' or "
        "Stale(milliseconds)"
    )


def is_stale(consistency: Consistency | None) -> bool:
    """Whether any node may answer the read, without a leader."""
    return isinstance(consistency, Stale | Mapping)
