"""One client's session: what it keeps for retries, and how much that is."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

from qcore.core.text_size import json_length
from qcore.replica.apply.machine_results import Result

#: What a recorded reply counts for besides its text: its number, and what goes around it in a snapshot.
REPLY_OVERHEAD_BYTES: Final = 32


@dataclass(slots=True)
class Session:
    """One client's session.

    Attributes:
        lifetime_ms: how long it may be idle.
        last_used_us: log time of its last entry; from rules 2 on, the cluster clock at its last entry.
        replies: by sequence number, those the client has not acknowledged.
        acknowledged_through: every sequence number up to this one is done with.
        generation: of the table, when this object was made; see `SessionTable.dump`.
        characters: of all replies. Up to rules 2, this is what the bounds count.
        size_bytes: of all replies, as a snapshot of rules 3 holds them. From rules 3 on, the bounds count this.
        numbers: those of the replies, as a heap.
    """

    lifetime_ms: int
    last_used_us: int
    replies: dict[int, Result] = field(default_factory=dict)
    acknowledged_through: int = 0
    generation: int = 0
    characters: int = 0
    size_bytes: int = 0
    numbers: list[int] = field(default_factory=list)

    @classmethod
    def restored(
        cls,
        lifetime_ms: int,
        last_used_us: int,
        acknowledged_through: int,
        replies: list[tuple[int, Result]],
    ) -> Session:
        """A session as a snapshot has it."""
        session = cls(lifetime_ms, last_used_us, acknowledged_through=acknowledged_through)
        for number, reply in replies:
            session.record(number, reply)
        return session

    def copy(self, generation: int) -> Session:
        """A session with the same content, which may change while this one stays as it is."""
        return Session(
            self.lifetime_ms,
            self.last_used_us,
            dict(self.replies),
            self.acknowledged_through,
            generation,
            self.characters,
            self.size_bytes,
            [*self.numbers],
        )

    def expired(self, time_us: int) -> bool:
        """Whether it was idle for longer than its lifetime."""
        return time_us - self.last_used_us > self.lifetime_ms * 1000

    def expires_at_us(self) -> int:
        """The first moment at which it has expired."""
        return self.last_used_us + self.lifetime_ms * 1000 + 1

    def reply_size(self, rules: int) -> int:
        """How much the replies count for under these rules."""
        return self.size_bytes if rules >= 3 else self.characters

    def record(self, number: int, reply: Result) -> None:
        """Keep the reply of a command."""
        self.replies[number] = reply
        heapq.heappush(self.numbers, number)
        self._count(reply, 1)

    def acknowledge(self, number: int) -> None:
        """The client has the replies up to this number: forget them."""
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
