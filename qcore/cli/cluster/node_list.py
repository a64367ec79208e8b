"""Parses lists of nodes, such as `1=host:port,2=host:port`."""

from __future__ import annotations

from qcore.errors import ConfigError


def parse_nodes(text: str, what: str = "--nodes") -> list[tuple[int, str]]:
    """Parse `1=host:port,2=host:port` into pairs of id and address.

    Args:
        text: the list.
        what: names the list in an error.

    Raises:
        ConfigError: an item does not have this form.
    """
    from qcore.transport.address import Address

    pairs: list[tuple[int, str]] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        number, equals, address = item.partition("=")
        if not (equals and number.isascii() and number.isdigit() and int(number) > 0):
            raise ConfigError(f"{what}: {item!r} is not ID=host:port, for example 1=127.0.0.1:8080")
        pairs.append((int(number), str(Address.parse(address, f"{what} {number}"))))
    return pairs
