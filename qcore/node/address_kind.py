"""What kind of host an address names, in whichever spelling."""

from __future__ import annotations

import ipaddress
import socket

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def normal_host(host: str) -> str:
    """One spelling of each host: IP addresses as they are usually written, names in lower case.

    An IPv4 address within an IPv6 one (`::ffff:10.0.0.1`) is dialled as IPv4, and written so.
    """
    ip = _ip(host)
    return host.lower() if ip is None else str(ip)


def is_unspecified(host: str) -> bool:
    """Whether the host means all of a machine's addresses (`0.0.0.0`, `::`): one to listen on, not to dial."""
    ip = _ip(host)
    return ip is not None and int(ip) == 0


def is_loopback(host: str) -> bool:
    """Whether the host is each machine's own: `127.0.0.0/8`, `::1`, `localhost`."""
    ip = _ip(host)
    if ip is not None:
        return ip.is_loopback
    name = host.lower().rstrip(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost")


def _ip(host: str) -> _Ip | None:
    """The IP address that the host is, or None for a name."""
    try:
        ip: _Ip = ipaddress.ip_address(host)
    except ValueError:
        try:
            # Short, octal and hexadecimal forms (`0`, `127.1`, `0x7f.1`), which the system dials as well.
            ip = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip
