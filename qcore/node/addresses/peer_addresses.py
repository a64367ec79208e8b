"""`PeerAddresses`: where a node dials its peers: at the address in the configuration, and at newer ones.

| address | from | used |
|---|---|---|
| announced | the `Hello` of a peer that has proved its key | to dial; the leader puts it into the configuration |
| configured | the configuration | to dial |
| hint | the setting `peers` of this node | to dial |
| exchanged | the configuration, which has them for other members | to dial, while this node announces one of them |

They are tried in this order. The handshake decides who answers there: a dial that reaches another node is refused, so a
wrong address does no harm. The last kind is for members that have exchanged their addresses: each of them finds itself
at the address of another, and its announcement would never arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qcore.core.entry import Membership
from qcore.errors import ConfigError
from qcore.node.addresses.member_addresses import is_same_address, member_address


def parse_hints(texts: Sequence[str]) -> dict[int, str]:
    """The addresses of the setting `peers`, by id.

    Raises:
        ConfigError: a text is not ID=host:port, its address cannot be dialled, or a node has two.
    """
    found: dict[int, str] = {}
    for text in texts:
        node, separator, address = text.partition("=")
        if not (separator and node.isascii() and node.isdigit() and int(node) > 0):
            raise ConfigError(
                f"peers: {text!r:.80} is not ID=host:port, for example 2=10.0.0.2:8080"
            )
        if int(node) in found:
            raise ConfigError(f"peers: node {int(node)} is given two addresses")
        found[int(node)] = member_address(address, f"peers: node {int(node)}")
    return found


class PeerAddresses:
    """The addresses of the peers of one node, besides those in the configuration.

    Args:
        membership: returns the configuration.
        node_id: of this node.
        own: what this node announces; empty for nothing.
        hints: by id, from the settings.
        warn: logs a line, with the peer and the reason.

    Attributes:
        own: see above.
    """

    def __init__(
        self,
        membership: Callable[[], Membership],
        node_id: int,
        own: str = "",
        hints: Mapping[int, str] | None = None,
        warn: Callable[[int, str], None] = lambda peer, why: None,
    ) -> None:
        self._membership = membership
        self._node_id = node_id
        self.own = own
        self._hints = hints or {}
        self._warn = warn
        #: By peer, from its newest connection: the address, and the key that the peer has proved.
        self._announced: dict[int, tuple[str, str]] = {}

    def of(self, peer: int, configured: str) -> tuple[str, ...]:
        """Where to dial a peer, in the order of the attempts."""
        found: list[str] = []
        known = (self.announced_by(peer), configured, self._hints.get(peer))
        for address in (*known, *self._exchanged()):
            if address and not any(is_same_address(address, each) for each in found):
                found.append(address)
        return tuple(found)

    def _exchanged(self) -> list[str]:
        """All other addresses of the configuration, if this node announces that of another member; else none."""
        addresses = self._membership().addresses if self.own else ()
        others = [text for _, text in addresses if not is_same_address(text, self.own)]
        holders = [node for node, text in addresses if is_same_address(text, self.own)]
        return others if holders and self._node_id not in holders else []

    def announced_by(self, peer: int) -> str | None:
        """The address that a member has announced, and proved to be its own by its key; None for none.

        Without a key in the configuration anyone could say that it is this member.
        """
        address, key = self._announced.get(peer, ("", ""))
        return address if address and key == self._membership().key_of(peer) else None

    def note(self, peer: int, address: str, key: str) -> bool:
        """A peer has begun a connection.

        Args:
            peer: its id.
            address: the address in its `Hello`; empty for none.
            key: the public key that it has proved; empty for none.

        Returns:
            Whether its addresses may have changed.
        """
        if address and key:
            try:
                address = member_address(address, "the announced address")
            except ConfigError as error:
                self._warn(peer, str(error))
                address = ""
        before = self._announced.pop(peer, ("", ""))
        if address and key:
            self._announced[peer] = address, key
        return self._announced.get(peer, ("", "")) != before
