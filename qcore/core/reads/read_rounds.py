"""`ReadRounds`: the linearizable reads in progress on a leader, and the rounds of messages that confirm them."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import register_copies


@dataclass
class ReadRounds:
    """The linearizable reads in progress (see `qcore.core.reads.read_index`).

    `in_flight`, `queued` and `awaiting_commit` hold dictionaries as ordered sets, so that a read can be removed.

    Attributes:
        round: number of the newest round in this term.
        in_flight: the round that waits for a quorum: (round, commit index when it began, read ids).
        queued: reads for the next round.
        awaiting_commit: reads that arrived before this leader's first commit in its current term.
        round_times: (number, when it began, µs) of rounds, oldest first; see `qcore.core.reads.freshness`.
        confirmed_under, confirmed_at: index of a configuration, and the result of `freshness.confirmed_at` under it;
            the index is -1 if that may have changed since.
    """

    round: int = 0
    in_flight: tuple[int, int, dict[int, None]] | None = None
    queued: dict[int, None] = field(default_factory=dict)
    awaiting_commit: dict[int, None] = field(default_factory=dict)
    round_times: list[tuple[int, int]] = field(default_factory=list)
    confirmed_under: int = -1
    confirmed_at: int = 0

    def pending(self) -> bool:
        """Whether any read is in progress."""
        return self.in_flight is not None or bool(self.queued or self.awaiting_commit)


register_copies(globals())
