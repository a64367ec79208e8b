"""The messages that copy a node's state: take a snapshot, then read it chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from qcore.core.entry import Membership
from qcore.core.version import FIRST_VERSION, SINCE_RULES_2, VERSION_SINCE_RULES_2, ClusterVersion
from qcore.transport.wire.common import (
    INT_LIMIT,
    Detail,
    Err,
    MessageId,
    Ok,
    PositiveInt,
    TimeoutMs,
)


@dataclass(slots=True)
class SaveSnapshot:
    """Take a snapshot that holds everything acknowledged before this request, and keep it readable for a while.

    Any member accepts this request. It captures the state gradually and also uses the snapshot to compact its log.

    Attributes:
        timeout_ms: how long to wait for the snapshot; None: the node's limit.
        stale: whether the state that the node has applied suffices. If so, neither leader nor quorum is needed.
    """

    id: MessageId
    timeout_ms: TimeoutMs | None = None
    stale: bool = False


@dataclass(slots=True)
class SnapshotInfo:
    """Describes the snapshot that can now be read.

    Attributes:
        last_included_index, last_included_term, last_included_time_us, membership, last_included_clock_us, version:
            see `SnapshotMeta`.
        characters: length of the text; offsets count characters.
        size: length of the text as UTF-8, in bytes.
        sha256: of the text as UTF-8, in hexadecimal.
    """

    last_included_index: int
    last_included_term: int
    last_included_time_us: int
    membership: Membership
    characters: int
    size: int
    sha256: str
    last_included_clock_us: int = field(default=0, metadata=SINCE_RULES_2)
    version: ClusterVersion = field(default=FIRST_VERSION, metadata=VERSION_SINCE_RULES_2)


@dataclass(slots=True)
class SaveSnapshotResponse:
    id: MessageId
    response: Ok[SnapshotInfo] | Err
    detail: Detail | None = None


@dataclass(slots=True)
class ReadSnapshot:
    """Read a chunk of the text of a snapshot that `SaveSnapshot` named, from `offset` on."""

    id: MessageId
    last_included_index: PositiveInt
    offset: Annotated[int, Field(ge=0, lt=INT_LIMIT)]


@dataclass(slots=True)
class SnapshotChunk:
    """The characters from `offset` on, as many as fit into one chunk. It is empty at the end of the snapshot."""

    offset: int
    data: str


@dataclass(slots=True)
class ReadSnapshotResponse:
    id: MessageId
    response: Ok[SnapshotChunk] | Err
    detail: Detail | None = None
