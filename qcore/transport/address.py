"""Reads and writes `host:port` addresses, by one rule for the command line, cluster configurations and clients."""

from __future__ import annotations

from typing import Final, NamedTuple

from qcore.display import truncate
from qcore.errors import ConfigError

#: The longest host, characters: the longest DNS name.
_MAX_HOST: Final = 253


class Address(NamedTuple):
    """A TCP address. `str()` gives `host:port`, with brackets around an IPv6 host."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def parse_address(text: str, where: str = "address", *, allow_port_zero: bool = False) -> Address:
    """Read `host:port` or `[v6]:port`.

    Args:
        text: the address.
        where: what the address is for (`--ws-addr`, `nodes[1]`); begins the error message.
        allow_port_zero: whether to allow port 0, which asks the system for a free port.

    Raises:
        ConfigError: the text is not an address; the error gives the expected form.
    """
    if not isinstance(text, str):  # callers without a type checker may pass anything
        raise ConfigError(
            f"{where}: {truncate(repr(text))} is not a text; give host:port, '127.0.0.1:8080'"
        )
    shown = repr(truncate(text))
    scheme, separator, rest = text.partition("://")
    if separator:
        plain = rest.partition("/")[0]
        raise ConfigError(
            f"{where}: {shown}: write host:port without the scheme {scheme}://"
            + (f", {plain}" if plain and len(plain) <= _MAX_HOST else "")
        )
    host, colon, port_text = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(
            f"{where}: {shown} has more than one colon: write host:port, and an IPv6 address in brackets, [::1]:8080"
        )
    if not colon or not host:
        raise ConfigError(f"{where}: {shown} is not host:port, for example 127.0.0.1:8080")
    if not host.isprintable() or any(c.isspace() or c in "/@?#[]," for c in host):
        raise ConfigError(f"{where}: {shown} is not host:port; give no path and no white space")
    if len(host) > _MAX_HOST:
        raise ConfigError(
            f"{where}: {shown}: the host has {len(host)} characters, {_MAX_HOST} are allowed"
        )
    lowest = 0 if allow_port_zero else 1
    is_number = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not (is_number and lowest <= int(port_text) <= 65535):
        raise ConfigError(f"{where}: {shown}: the port must be a number from {lowest} to 65535")
    return Address(host, int(port_text))


def format_address(host: str, port: int) -> str:
    """The text of an address: the inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
