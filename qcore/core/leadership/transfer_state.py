"""What a server remembers of a leadership transfer: as the leader that began it, and as its target."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import register_copies


@dataclass
class OutgoingTransfer:
    """A leadership transfer to `target`, abandoned at `deadline` (µs).

    Attributes:
        by_priority: set if no request asked for it: the target has a higher priority.
        may_retarget: the request named no target, so another one may be asked if this one rejects.
        timeout_now_sent: the target was asked to take over.
        rejected_by: targets that could not win.
    """

    target: int
    deadline: int
    by_priority: bool = False
    may_retarget: bool = False
    timeout_now_sent: bool = False
    rejected_by: list[int] = field(default_factory=list)


@dataclass
class IncomingTransfer:
    """This follower was asked to take over and finds out whether it could win (see `qcore.core.leadership.takeover`).

    Attributes:
        leader_id: the leader that asked.
        must_reach: voters whose pre-votes it needs, besides a majority.
        deadline: when it stops trying, µs.
        votes: the pre-votes received.
    """

    leader_id: int
    must_reach: tuple[int, ...]
    deadline: int
    votes: dict[int, bool]


register_copies(globals())
