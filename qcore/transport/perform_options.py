"""The optional fields of `Perform` that are the same for every application: consistency and session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from qcore.transport.wire import INT_LIMIT, PositiveInt, SessionId

_Number = Annotated[int, Field(ge=0, lt=INT_LIMIT)]


@dataclass(slots=True)
class Stale:
    """Read this node's own state at once, if it is at most `stale` milliseconds old."""

    stale: _Number


#: How a read is served:
#:
#: - `linearizable`: it reflects every write acknowledged before; confirmed by a quorum.
#: - `lease`: the same without asking the quorum, as long as clocks keep their bound (`--lease-reads`).
#: - `follower`: linearizable too, from this node's state, at an index that the leader confirms.
#: - `{"stale": MS}`: from this node's state at once.
Consistency = Literal["linearizable", "lease", "follower"] | Stale


@dataclass(slots=True)
class SessionUse:
    """Apply the command once, however often it is sent.

    Attributes:
        id: of the session.
        sequence: number of the command in the session; a repeated one gets the first one's reply.
        acknowledged: the client has the replies up to this number: they may be forgotten.
    """

    id: SessionId
    sequence: PositiveInt
    acknowledged: _Number = 0
