"""Who leads, and since which term: the result of a transfer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from qcore.core.raft import RaftCore


@dataclass(slots=True, frozen=True)
class Leadership:
    """That a node leads in a term.

    Attributes:
        leader_id: the node.
        term: the term.
    """

    leader_id: int
    term: int

    @classmethod
    def of(cls, core: RaftCore) -> Self:
        """As this core knows it. It must know of a leader."""
        assert core.leader_id is not None, "somebody leads"
        return cls(core.leader_id, core.term)

    def to_json(self) -> str:
        """As the text that a replica's reply carries."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        read = json.loads(text)
        return cls(read["leader_id"], read["term"])
