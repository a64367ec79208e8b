"""`host:port` texts, as in membership and on the command line."""

from __future__ import annotations

from qcore.errors import ConfigError
from qcore.shown import cut


def parse_address(text: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 host stands in brackets: `[::1]:8080`.

    Raises:
        ConfigError: not of that form, or the port is not in 0..65535.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(
            f"address {cut(text)!r}: write an IPv6 host in brackets, as in [::1]:8080"
        )
    if not colon or not host:
        raise ConfigError(f"address {cut(text)!r} is not of the form host:port")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ConfigError(f"address {cut(text)!r}: port {cut(port)!r} is not a number in 0..65535")
    return host, int(port)


def format_address(host: str, port: int) -> str:
    """The inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
