"""Lowers the limits of connections if the system lets the process open too few files."""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Final

from qcore.errors import ConfigError
from qcore.node.observability.logs import NodeLog
from qcore.transport.limits import TransportLimits

#: Files besides connections: the log and its parts, the lock, the event loop, output, a trace, snapshots in transfer,
#: name lookups, and the connections accepted in one turn of the event loop.
BASE_FILES: Final = 32

#: Kind of connection -> the fewest that a node needs. Peers are connections to and from members, three for each.
_MINIMA: Final = {
    "peers": 12,
    "max_handshakes": 4,
    "reserved_for_peers": 4,
    "reserved_for_admin": 2,
    "max_clients": 4,
}
#: The least number of files that a node needs.
MIN_FILES: Final = BASE_FILES + sum(_MINIMA.values())
#: Connections of 16 members: kept free if there is room.
_MEMBER_CONNECTIONS: Final = 45


def fit_to_open_files(
    limits: TransportLimits, log: NodeLog, *, may_raise: bool = True
) -> TransportLimits:
    """The limits, lowered if the system's limit of open files (`ulimit -n`) requires it. Each is logged.

    Args:
        limits: the limits of connections.
        log: gets the line.
        may_raise: whether the system's limit may be raised first, for the whole process.

    Raises:
        ConfigError: the process may open fewer files than a node needs.
    """
    needed = needed_files(limits)
    allowed = _raise_to(needed) if may_raise else _allowed_now(needed)
    if allowed >= needed:
        return limits
    fitting = fitting_limits(limits, allowed)
    lowered = {
        name: f"{getattr(limits, name)} to {getattr(fitting, name)}"
        for name in _MINIMA
        if name != "peers" and getattr(fitting, name) < getattr(limits, name)
    }
    log.warning(
        "connections are limited by the number of open files (ulimit -n)",
        allowed=allowed,
        needed=needed,
        **lowered,
    )
    return fitting


def needed_files(limits: TransportLimits) -> int:
    """How many files a node with these limits may open."""
    connections: int = sum(getattr(limits, name) for name in _MINIMA if name != "peers")
    return BASE_FILES + _MEMBER_CONNECTIONS + connections


def fitting_limits(limits: TransportLimits, allowed: int) -> TransportLimits:
    """The limits, lowered until at most `allowed` files are open. Clients get what the other connections leave.

    Raises:
        ConfigError: see `fit_to_open_files`.
    """
    if allowed < MIN_FILES:
        raise ConfigError(
            f"this process may open {allowed} files (ulimit -n), and a node needs at least {MIN_FILES}: {BASE_FILES} "
            f"for itself, {_MINIMA['peers']} for the other members, and the rest for clients and operators; raise "
            "the limit"
        )
    room = allowed - BASE_FILES
    more = (room - sum(_MINIMA.values())) // 8
    share = {
        name: min(_MEMBER_CONNECTIONS if name == "peers" else getattr(limits, name), least + more)
        for name, least in _MINIMA.items()
        if name != "max_clients"
    }
    rest = room - sum(share.values())
    del share["peers"]
    return replace(limits, max_clients=min(limits.max_clients, rest), **share)


def _allowed_now(needed: int) -> int:
    """How many files this process may open; `needed` if there is no limit."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return needed if soft == resource.RLIM_INFINITY else soft


def _raise_to(needed: int) -> int:
    """Try to raise the number of files that this process may open; returns the number that results."""
    soft = _allowed_now(needed)
    if soft >= needed:
        return soft
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft  # some systems allow less than they report
    return max(soft, wanted)
