"""How many connections a node may have with the files that the system lets it open."""

from __future__ import annotations

import resource
from dataclasses import replace
from typing import Final

from qcore.errors import ConfigError
from qcore.node.observability.logs import NodeLog
from qcore.transport.limits import TransportLimits

#: Besides connections: the log and its parts, the lock, the event loop, output, a trace, snapshots on their way, names
#: that are looked up, and what is accepted in one turn of the event loop.
BASE_FILES: Final = 32

#: Kind of connection -> the least that a node needs. Peers: to and from the other members, three for each.
_MINIMA: Final = {
    "peers": 12,
    "max_handshakes": 4,
    "reserved_for_peers": 4,
    "reserved_for_admin": 2,
    "max_clients": 4,
}
#: The least number of files that a node needs.
MIN_FILES: Final = BASE_FILES + sum(_MINIMA.values())
#: Links of 16 members: kept free where there is room.
_MEMBER_CONNECTIONS: Final = 45


def fit_to_open_files(limits: TransportLimits, log: NodeLog) -> TransportLimits:
    """The limits as far as the system's limit of open files (`ulimit -n`) allows, which is raised if it may be.

    What had to be lowered is logged, with the numbers.

    Raises:
        ConfigError: not even the least number of connections fits.
    """
    needed = (
        BASE_FILES
        + _MEMBER_CONNECTIONS
        + sum(getattr(limits, name) for name in _MINIMA if name != "peers")
    )
    allowed = _raise_to(needed)
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


def fitting_limits(limits: TransportLimits, allowed: int) -> TransportLimits:
    """The limits lowered so that no more than `allowed` files are open; clients get what the others leave.

    Raises:
        ConfigError: see `fit_to_open_files`.
    """
    if allowed < MIN_FILES:
        raise ConfigError(
            f"this process may open {allowed} files (ulimit -n), and a node needs at least {MIN_FILES}: {BASE_FILES} "
            f"of its own, {_MINIMA['peers']} for the other members, and the rest for clients and administration; raise "
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


def _raise_to(needed: int) -> int:
    """How many files this process may open, after an attempt to be allowed so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return needed
    if soft >= needed:
        return soft
    wanted = needed if hard == unlimited else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft  # some systems allow less than they say
    return max(soft, wanted)
