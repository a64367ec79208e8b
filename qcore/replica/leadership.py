"""`Leadership`: which node leads, and in which term; the result of a transfer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from qcore.compiled_build import register_copies
from qcore.core.raft import RaftCore


@dataclass(frozen=True)
class Leadership:
    """A leader and its term.

    Attributes:
        leader_id: the node that leads.
        term: the term in which it leads.
    """

    leader_id: int
    term: int

    @classmethod
    def of(cls, core: RaftCore) -> Self:
        """The leader that this core knows. It must know one."""
        assert core.leader_id is not None, "a leader is known"
        return cls(core.leader_id, core.term)

    def to_json(self) -> str:
        """The text that a reply carries."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        read = json.loads(text)
        return cls(read["leader_id"], read["term"])


register_copies(globals())
