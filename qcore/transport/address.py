"""`Address`: the `host:port` of the command line, of cluster configurations, of clients and of connections."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final, NamedTuple, Self

from qcore.display import truncate
from qcore.errors import ConfigError
from qcore.runtime.resolver import is_ip

#: The longest host and the longest part of it between two dots, characters: those of a DNS name.
_MAX_HOST: Final = 253
_MAX_LABEL: Final = 63

_LOCAL_NAMES: Final = frozenset(
    {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}
)

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Address(NamedTuple):
    """A TCP address: a host name, an IPv4 or an IPv6 address, and a port.

    `str()` gives `host:port`, with brackets around an IPv6 address. `parse` reads this text.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, where: str = "address", *, allow_port_zero: bool = False) -> Self:
        """Read `host:port` or `[v6]:port`.

        Args:
            text: the address.
            where: what the address is for (`--ws-addr`, `nodes[1]`); begins the error message.
            allow_port_zero: whether to allow port 0, which asks the system for a free port.

        Raises:
            ConfigError: the text is not an address; the error states what is wrong and gives the expected form.
        """
        if not isinstance(text, str):  # callers without a type checker may pass anything
            raise ConfigError(
                f"{where}: {truncate(repr(text))} is not a text; give host:port, '127.0.0.1:8080'"
            )
        scheme, separator, rest = text.partition("://")
        if separator:
            plain = rest.partition("/")[0]
            raise ConfigError(
                f"{where}: {_shown(text)}: write host:port without the scheme {scheme}://"
                + (f", {plain}" if plain and len(plain) <= _MAX_HOST else "")
            )
        host, colon, port_text = text.rpartition(":")
        in_brackets = host.startswith("[") and host.endswith("]")
        if in_brackets:
            host = host[1:-1]
        problem = (
            _text_problem(text, host, bool(colon), in_brackets)
            or (_ipv6_problem(host) if in_brackets else _host_problem(host))
            or _port_problem(port_text, 0 if allow_port_zero else 1)
        )
        if problem is not None:
            raise ConfigError(f"{where}: {_shown(text)}{problem}")
        return cls(host, int(port_text))

    @property
    def canonical(self) -> Address:
        """The address in its usual spelling: IP addresses in their shortest form, names in lower case.

        An IPv4 address within an IPv6 one (`::ffff:10.0.0.1`) is dialled as IPv4, and is written as IPv4.
        """
        ip = _ip(self.host)
        return Address(self.host.lower() if ip is None else str(ip), self.port)

    def is_same_as(self, other: Address) -> bool:
        """Whether both are one address, in any spelling. `localhost` is 127.0.0.1."""
        return self.comparable == other.comparable

    @property
    def comparable(self) -> tuple[str, int]:
        """Equal for all spellings of one address."""
        host = self.canonical.host.rstrip(".")
        return ("127.0.0.1" if host == "localhost" else host), self.port

    @property
    def is_unspecified(self) -> bool:
        """Whether the host means all addresses of a machine (`0.0.0.0`, `::`). A node can listen on it, not dial it."""
        ip = _ip(self.host)
        return ip is not None and int(ip) == 0

    @property
    def is_loopback(self) -> bool:
        """Whether the host is a loopback address or name: `127.0.0.0/8`, `::1`, `localhost`."""
        ip = _ip(self.host)
        if ip is not None:
            return ip.is_loopback
        name = self.host.lower().rstrip(".")
        return name in _LOCAL_NAMES or name.endswith(".localhost")


def _shown(text: str) -> str:
    return repr(truncate(text))


def _text_problem(text: str, host: str, has_colon: bool, in_brackets: bool) -> str | None:
    """What is wrong with the form of the text, or None."""
    if text.startswith("[") and text.endswith("]") and _is_ipv6(text[1:-1]):
        return f" has no port: write {text}:8080"
    if not in_brackets and ":" in host:
        if _is_ipv6(text):
            port = f", or [{host}]:{text.rpartition(':')[2]} if the last number is the port"
            return f" has more than one colon: write an IPv6 address in brackets: [{text}]:8080" + (
                port if _is_ipv6(host) else ""
            )
        return (
            " has more than one colon: write host:port, and an IPv6 address in brackets, [::1]:8080"
        )
    if not has_colon or not host:
        return " is not host:port, for example 127.0.0.1:8080"
    return None


def _ipv6_problem(host: str) -> str | None:
    if _is_ipv6(host):
        return None
    if is_ip(host):
        return f": write an IPv4 address without brackets, {host}:8080"
    return f": {_shown(host)} in the brackets is not an IPv6 address, for example [::1]:8080"


def _host_problem(host: str) -> str | None:
    """Why this is neither a host name nor an IPv4 address, or None if it is one of them."""
    if not host.isprintable() or any(c.isspace() or c in "/@?#[]," for c in host):
        return " is not host:port; give no path and no white space"
    if len(host) > _MAX_HOST:
        return f": the host has {len(host)} characters, {_MAX_HOST} are allowed"
    odd = next((c for c in host if c.isascii() and not c.isalnum() and c not in "-._"), None)
    if odd is not None:
        advice = ", and 0.0.0.0 for all addresses of this machine" if host == "*" else ""
        return f": a host has no {odd!r}; give a name or an IP address{advice}"
    labels = host.removesuffix(".").split(".")
    for label in labels:
        if not 1 <= len(label) <= _MAX_LABEL:
            return (
                f": between two dots, a host name has from 1 to {_MAX_LABEL} characters, and not "
                f"{len(label)}"
            )
    if labels[-1].isascii() and labels[-1].isdigit() and _ip(host) is None:
        return f": {host} is not an IPv4 address; it has four numbers from 0 to 255"
    return None


def _port_problem(text: str, lowest: int) -> str | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= 5
    if is_number and lowest <= int(text) <= 65535:
        return None
    return f": the port must be a number from {lowest} to 65535"


def _is_ipv6(host: str) -> bool:
    return ":" in host and is_ip(host)


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
