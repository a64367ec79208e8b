"""`FailedLogins`: slows down who guesses passwords, without locking users out.

Each address, and each user, has a number of failures that falls with time. An address above its bound has to wait. A
user above its bound does not wait itself: only addresses that have failed before have to wait for it. So strangers who
guess the password of an administrator do not keep the administrator out, and after a typing error the wait is short.

A success forgets nothing: otherwise a user could guess the passwords of others between its logins.
"""

from __future__ import annotations

from typing import Final

#: How many failures come without a wait, and the seconds after which one is forgotten.
ADDRESS_FAILURES: Final = 10
USER_FAILURES: Final = 20
FORGET_S: Final = 6.0
#: How many addresses and users are remembered. Those that failed longest ago are forgotten first.
_REMEMBERED: Final = 10_000


class _Failures:
    """Counts failures by name. A count falls with time."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        #: Name -> the number of failures, and the second at which it was that. Oldest failure first.
        self._counts: dict[str, tuple[float, float]] = {}

    def count(self, name: str, now_s: float) -> float:
        """The failures that are not forgotten."""
        number, at_s = self._counts.get(name, (0.0, now_s))
        return max(0.0, number - (now_s - at_s) / FORGET_S)

    def wait_s(self, name: str, now_s: float) -> float:
        """How long the next attempt has to wait."""
        return max(0.0, (self.count(name, now_s) - self._bound + 1) * FORGET_S)

    def add(self, name: str, now_s: float) -> None:
        """Count one."""
        number = self.count(name, now_s) + 1
        self._counts.pop(name, None)
        self._counts[name] = (min(number, 2.0 * self._bound), now_s)
        if len(self._counts) > _REMEMBERED:
            del self._counts[next(iter(self._counts))]


class FailedLogins:
    """The failures of addresses and of users."""

    def __init__(self) -> None:
        self._addresses = _Failures(ADDRESS_FAILURES)
        self._users = _Failures(USER_FAILURES)

    def wait_s(self, address: str, user: str, now_s: float) -> float:
        """How long an attempt has to wait, seconds; 0 if it need not."""
        wait_s = self._addresses.wait_s(address, now_s)
        if self._addresses.count(address, now_s) > 0:
            wait_s = max(wait_s, self._users.wait_s(user, now_s))
        return wait_s

    def failed(self, address: str, user: str, now_s: float) -> None:
        """Note a failure."""
        self._addresses.add(address, now_s)
        self._users.add(user, now_s)


def source_of(remote: str) -> str:
    """The part of `host:port` that failures are counted by: the host, or for IPv6 its network of 64 bits."""
    import ipaddress

    host = remote.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host or remote
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
