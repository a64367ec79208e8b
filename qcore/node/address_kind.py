"""Normalises the host of an address, and recognises unspecified and loopback hosts in any spelling."""

from __future__ import annotations

import ipaddress
import socket

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def canonical_host(host: str) -> str:
    """The canonical spelling of a host: IP addresses in their usual form, names in lower case.

    An IPv4 address within an IPv6 one (`::ffff:10.0.0.1`) is dialled as IPv4, and is written as IPv4.
    """
    ip = _ip(host)
    return host.lower() if ip is None else str(ip)


def is_unspecified(host: str) -> bool:
    """Whether the host means all addresses of a machine (`0.0.0.0`, `::`). A node can listen on it, but not dial it."""
    ip = _ip(host)
    return ip is not None and int(ip) == 0


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address or name: `127.0.0.0/8`, `::1`, `localhost`."""
    ip = _ip(host)
    if ip is not None:
        return ip.is_loopback
    name = host.lower().rstrip(".")
    return name in _LOCAL_NAMES or name.endswith(".localhost")


def _ip(host: str) -> _Ip | None:
    """The host as an IP address, or None if it is a name."""
    try:
        ip: _Ip = ipaddress.ip_address(host)
    except ValueError:
        try:
            # The system also dials short, octal and hexadecimal forms (`0`, `127.1`, `0x7f.1`).
            ip = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip
