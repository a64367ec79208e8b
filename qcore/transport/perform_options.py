"""The optional fields of `Perform` in every application: `consistency` and `session`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from qcore.transport.wire import INT_LIMIT, PositiveInt, SessionId

_Number = Annotated[int, Field(ge=0, lt=INT_LIMIT)]


@dataclass(slots=True)
class Stale:
    """Read this node's state immediately, if it is at most `stale` milliseconds old."""

    stale: _Number


#: How a read is served:
#:
#: - `linearizable`: the read reflects every write acknowledged before it began; a quorum confirms the leader.
#: - `lease`: also linearizable, without asking a quorum, if the clocks keep their bound (`--lease-reads`).
#: - `follower`: also linearizable; from this node's state, at an index that the leader confirms.
#: - `{"stale": MS}`: from this node's state, immediately.
Consistency = Literal["linearizable", "lease", "follower"] | Stale


@dataclass(slots=True)
class SessionUse:
    """Apply the command once, however often it is sent.

    Attributes:
        id: the session's id.
        sequence: the command's number in the session. A repeated command gets the result of the first one.
        acknowledged: the client has received the results up to this number, so the cluster may forget them.
    """

    id: SessionId
    sequence: PositiveInt
    acknowledged: _Number = 0
