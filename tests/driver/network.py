"""The network between the nodes: messages wait in it until a test delivers, loses or duplicates them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qcore.replica.messages import PeerMessage


@dataclass(slots=True, eq=False)
class Envelope:
    """A message on its way. Two messages with the same text are two envelopes."""

    source: int
    to: int
    message: PeerMessage


class Network:
    """The messages on their way, oldest first, and the links that lose them.

    Attributes:
        messages: a test may take, drop, repeat and reorder them.
        cut: the links `(source, to)` that lose what arrives over them.
        isolated: the nodes all of whose links are cut.
    """

    def __init__(self) -> None:
        self.messages: list[Envelope] = []
        self.cut: set[tuple[int, int]] = set()
        self.isolated: set[int] = set()

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Envelope]:
        return iter(self.messages)

    def send(self, source: int, to: int, message: PeerMessage) -> None:
        """Put a message on its way."""
        self.messages.append(Envelope(source, to, message))

    def take(self, position: int = 0) -> Envelope:
        """Remove the message at this position and return it. The oldest is at 0."""
        return self.messages.pop(position)

    def hold_back(self, wanted: Callable[[Envelope], bool]) -> list[Envelope]:
        """Remove the messages for which `wanted` is true, and return them: they are late, or lost."""
        taken = [envelope for envelope in self.messages if wanted(envelope)]
        self.messages = [envelope for envelope in self.messages if not wanted(envelope)]
        return taken

    def duplicate(self, position: int) -> None:
        """Let the message at this position arrive once more, as the newest."""
        sent = self.messages[position]
        self.send(sent.source, sent.to, sent.message)

    def clear(self) -> None:
        """Lose all messages."""
        self.messages.clear()

    def loses(self, source: int, to: int) -> bool:
        """Whether what arrives over this link is lost."""
        return (source, to) in self.cut or source in self.isolated or to in self.isolated

    @property
    def is_whole(self) -> bool:
        """Whether every link carries messages."""
        return not (self.cut or self.isolated)

    def heal(self) -> None:
        """Let every link carry messages again."""
        self.cut.clear()
        self.isolated.clear()
