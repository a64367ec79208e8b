"""One client's session: the replies that it keeps for retries, and their size."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

from qcore.compiled_build import register_copies
from qcore.core.text_size import json_length
from qcore.replica.machine_results import Result

#: The size of a recorded reply in addition to its text: its number, and the JSON around both in a snapshot.
REPLY_OVERHEAD_BYTES: Final = 32


@dataclass
class Session:
    """The session of one client.

    Attributes:
        lifetime_ms: how long it may be idle.
        last_used_us: the log time of its last entry; from rules 2 on, the cluster clock at its last entry.
        replies: the replies that the client has not acknowledged, by sequence number.
        acknowledged_through: the client has acknowledged every sequence number up to this one.
        generation: the table's generation when this object was created; see `SessionTable.dump`.
        characters: the characters of all replies. The bounds of rules 1 and 2 count these.
        size_bytes: the bytes of all replies, as a snapshot of rules 3 holds them. From rules 3 on, the bounds count
            these.
        numbers: the sequence numbers of the replies, as a heap.
        owner: the log index at which the user was created who opened it; 0 if there were no users. No other user may
            use it, because it holds the results of commands.
    """

    lifetime_ms: int
    last_used_us: int
    replies: dict[int, Result] = field(default_factory=dict)
    acknowledged_through: int = 0
    generation: int = 0
    characters: int = 0
    size_bytes: int = 0
    numbers: list[int] = field(default_factory=list)
    owner: int = 0

    @classmethod
    def restored(
        cls,
        lifetime_ms: int,
        last_used_us: int,
        acknowledged_through: int,
        replies: list[tuple[int, Result]],
    ) -> Session:
        """The session that a snapshot holds."""
        session = cls(lifetime_ms, last_used_us, acknowledged_through=acknowledged_through)
        for number, reply in replies:
            session.record(number, reply)
        return session

    def copy(self, generation: int) -> Session:
        """An independent copy of this session."""
        return Session(
            self.lifetime_ms,
            self.last_used_us,
            dict(self.replies),
            self.acknowledged_through,
            generation,
            self.characters,
            self.size_bytes,
            [*self.numbers],
            self.owner,
        )

    def expired(self, time_us: int) -> bool:
        """True if it has been idle for longer than its lifetime."""
        return time_us - self.last_used_us > self.lifetime_ms * 1000

    def expires_at_us(self) -> int:
        """The first moment at which it has expired."""
        return self.last_used_us + self.lifetime_ms * 1000 + 1

    def reply_size(self, rules: int) -> int:
        """The size of the replies under these rules."""
        return self.size_bytes if rules >= 3 else self.characters

    def record(self, number: int, reply: Result) -> None:
        """Record the reply to a command."""
        self.replies[number] = reply
        heapq.heappush(self.numbers, number)
        self._count(reply, 1)

    def acknowledge(self, number: int) -> None:
        """The client has received the replies up to this number: forget them."""
        numbers = self.numbers
        while numbers and numbers[0] <= number:
            reply = self.replies.pop(heapq.heappop(numbers), None)
            if reply is not None:
                self._count(reply, -1)
        self.acknowledged_through = max(self.acknowledged_through, number)

    def _count(self, reply: Result, sign: int) -> None:
        text = reply if isinstance(reply, str) else str(reply)
        self.characters += sign * len(text)
        self.size_bytes += sign * (json_length(text) + REPLY_OVERHEAD_BYTES)


register_copies(globals())
