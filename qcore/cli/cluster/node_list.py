"""Parses lists of nodes, such as `1=host:port,2=host:port`, and of their public keys."""

from __future__ import annotations

from qcore.core.entry import KEY_PREFIX
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


def parse_keys(texts: list[str]) -> list[tuple[int, str]]:
    """The ids and keys of the options `--public-key`.

    Raises:
        ConfigError: one is not ID=KEY, or two are for one node.
    """
    found: dict[int, str] = {}
    for text in texts:
        node, separator, key = text.partition("=")
        if not separator or not node.isascii() or not node.isdigit() or int(node) < 1:
            raise ConfigError(
                f"--public-key {text!r:.80} is not ID=KEY, for example 1={KEY_PREFIX}..."
            )
        if int(node) in found:
            raise ConfigError(f"--public-key: node {node} is given two keys")
        found[int(node)] = key
    return [*found.items()]
