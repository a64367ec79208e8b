"""The keys of a queue, and what their values say.

    queue/NAME//tail                   the number of the last item, and the put that added it
    queue/NAME//data/NUMBER            the data of an item
    queue/NAME//line/NUMBER/item       the item waits, or is claimed; how often it was
    queue/NAME//line/NUMBER/claim      who has it. The consumer's lease deletes it
    queue/NAME//dead/NUMBER            the item is a dead letter
    queue/NAME//taker/CONSUMER         the number of the item that the consumer has claimed last

The data has a separate key. So what consumers watch is small, and an item moves between the line and the dead letters
without its data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, Self

from qcore.errors import ConfigError
from qcore.recipes.key_reads import prefix_of

#: A number has so many digits in a key, so the order of the keys is that of the numbers.
_DIGITS: Final = 20
#: So many characters of a reason are kept.
MAX_REASON: Final = 500


class QueueKeys:
    """The keys of one queue.

    Args:
        name: the name of the queue.

    Attributes:
        name: the name of the queue.
        tail: see the text of the module.
        line, dead: the prefixes of these keys.

    Raises:
        ConfigError: the name cannot be used.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._prefix = prefix_of("queue", name)
        self.tail = f"{self._prefix}tail"
        self.line = f"{self._prefix}line/"
        self.dead = f"{self._prefix}dead/"

    def data(self, number: int) -> str:
        """The data of an item."""
        return f"{self._prefix}data/{number:0{_DIGITS}}"

    def item(self, number: int) -> str:
        """The item in the line."""
        return f"{self.line}{number:0{_DIGITS}}/item"

    def claim(self, number: int) -> str:
        """The claim of an item."""
        return f"{self.line}{number:0{_DIGITS}}/claim"

    def dead_letter(self, number: int) -> str:
        """The item among the dead letters."""
        return f"{self.dead}{number:0{_DIGITS}}"

    def taker(self, consumer: str) -> str:
        """What a consumer has claimed last."""
        return f"{self._prefix}taker/{consumer}"

    def read_line_key(self, key: bytes) -> tuple[int, bool]:
        """The number in a key of the line, and whether it is a claim.

        Raises:
            ConfigError: it is no key of a queue.
        """
        number, _, kind = key.decode(errors="replace").removeprefix(self.line).partition("/")
        if not number.isdecimal() or kind not in ("item", "claim"):
            raise self.foreign(key)
        return int(number), kind == "claim"

    def read_dead_key(self, key: bytes) -> int:
        """The number in the key of a dead letter.

        Raises:
            ConfigError: it is no key of a queue.
        """
        number = key.decode(errors="replace").removeprefix(self.dead)
        if not number.isdecimal():
            raise self.foreign(key)
        return int(number)

    def foreign(self, key: bytes | str) -> ConfigError:
        """The error that a key is not as a queue leaves it."""
        return ConfigError(
            f"queue {self.name}: the key {key!r} is not as a queue leaves it: let no other program write below "
            f"{self._prefix!r}"
        )


@dataclass(frozen=True, slots=True)
class Marker:
    """The value of an item in the line, and of a dead letter.

    Attributes:
        attempts: how often the item was claimed.
        reason: why its last rejection was, or why it is dead; empty if there was none.
    """

    attempts: int
    reason: str

    def to_text(self) -> str:
        """As the value of a key."""
        return json.dumps({"attempts": self.attempts, "reason": self.reason}, ensure_ascii=False)

    @classmethod
    def from_value(cls, value: bytes) -> Self | None:
        """What the value of a key says; None if it is no such value."""
        try:
            fields = json.loads(value)
            return cls(int(fields["attempts"]), str(fields["reason"]))
        except (ValueError, TypeError, KeyError):
            return None
