"""The messages between replicas besides those of Raft: requests that a follower passes to the leader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from qcore.compiled_build import register_copies, restore_source
from qcore.core.messages import RaftMessage
from qcore.core.version import SINCE_RULES_2
from qcore.wire_value import WireValue

#: The most digests of one `StateDigests`: several times the number that a node sends.
MAX_DIGESTS: Final = 64
_HASH: Final[Mapping[str, object]] = {"max_length": 256}
#: Metadata of a field that older programs cannot read.
_NOT_WRITTEN_WHILE_NONE: Final[Mapping[str, object]] = {"exclude_if": lambda value: value is None}

#: How a request is served:
#:
#: - `write`, `session`: through the log; a `session` payload is one of `qcore.replica.sessions.session_table`.
#: - `access`: through the log; the payload is one of `qcore.replica.access.access_commands`. From apply rules 5 on.
#: - `read`: linearizable, by the leader, confirmed by a quorum (ReadIndex, dissertation 6.4).
#: - `lease_read`: linearizable while clocks keep their bound, by the leader under its lease (6.4.1).
#: - `follower_read`: linearizable, by this node, at an index that the leader confirms.
#: - `stale_read`: by this node immediately, if its state is fresh enough.
RequestKind = Literal[
    "write", "session", "access", "read", "lease_read", "follower_read", "stale_read"
]


@dataclass(init=False)
class Forward(WireValue):
    """A client's request that a follower passes to the leader.

    Attributes:
        forward_id: numbers the sender's forwards; never reused, not even after a restart.
        kind: see `RequestKind`.
        payload: the command or query.
        timeout_ms: how much longer the client waits.
        user: the client's user, which the sender has authenticated; empty for none.
    """

    forward_id: int
    kind: RequestKind
    payload: str = field(repr=False)
    timeout_ms: int
    user: str = field(default="", metadata=SINCE_RULES_2)

    def __init__(
        self, forward_id: int, kind: RequestKind, payload: str, timeout_ms: int, user: str = ""
    ) -> None:
        self.forward_id = forward_id
        self.kind = kind
        self.payload = payload
        self.timeout_ms = timeout_ms
        self.user = user


@dataclass(init=False)
class ForwardResponse(WireValue):
    """The outcome of a `Forward`: a result, or the error's code and text.

    `leader_id` and `leader_addr` accompany the code `NotLeader`, `retry_after_ms` the codes `Overloaded` and
    `QuotaExceeded`, and the last three the latter.
    """

    forward_id: int
    result: str | None
    index: int = 0
    error_code: str | None = None
    error_text: str | None = None
    leader_id: int | None = None
    leader_addr: str | None = None
    retry_after_ms: int | None = None
    quota: str | None = field(default=None, metadata=_NOT_WRITTEN_WHILE_NONE)
    limit: int | None = field(default=None, metadata=_NOT_WRITTEN_WHILE_NONE)
    use: int | None = field(default=None, metadata=_NOT_WRITTEN_WHILE_NONE)

    def __init__(
        self,
        forward_id: int,
        result: str | None,
        index: int = 0,
        error_code: str | None = None,
        error_text: str | None = None,
        leader_id: int | None = None,
        leader_addr: str | None = None,
        retry_after_ms: int | None = None,
        quota: str | None = None,
        limit: int | None = None,
        use: int | None = None,
    ) -> None:
        self.forward_id = forward_id
        self.result = result
        self.index = index
        self.error_code = error_code
        self.error_text = error_text
        self.leader_id = leader_id
        self.leader_addr = leader_addr
        self.retry_after_ms = retry_after_ms
        self.quota = quota
        self.limit = limit
        self.use = use


@dataclass(init=False)
class ReadIndex(WireValue):
    """Asks the leader for the index at which the sender may serve a linearizable read (dissertation 6.4, last part).

    `read_id` numbers the sender's requests; never reused, not even after a restart.
    """

    read_id: int
    timeout_ms: int

    def __init__(self, read_id: int, timeout_ms: int) -> None:
        self.read_id = read_id
        self.timeout_ms = timeout_ms


@dataclass(init=False)
class ReadIndexResponse(WireValue):
    """The index that a quorum confirmed after the request arrived, or the error, as in `ForwardResponse`."""

    read_id: int
    index: int | None
    error_code: str | None = None
    error_text: str | None = None
    leader_id: int | None = None
    leader_addr: str | None = None
    retry_after_ms: int | None = None

    def __init__(
        self,
        read_id: int,
        index: int | None,
        error_code: str | None = None,
        error_text: str | None = None,
        leader_id: int | None = None,
        leader_addr: str | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        self.read_id = read_id
        self.index = index
        self.error_code = error_code
        self.error_text = error_text
        self.leader_id = leader_id
        self.leader_addr = leader_addr
        self.retry_after_ms = retry_after_ms


@dataclass(frozen=True)
class StateDigest(WireValue):
    """Digests of a node's state, and of the newest entries of its log, after it applied the entry at `index`.

    Attributes:
        rules, machine_version: the active version at `index`. Digests under other versions are not compared.
        state: the digest of the state machine's state.
        log: the hash of the entries since the last multiple of `qcore.replica.apply.state_digests.DIGEST_INTERVAL`
            before `index`; empty if the node does not know all of them.
    """

    index: int
    rules: int
    machine_version: int
    state: str = field(metadata=_HASH)
    log: str = field(default="", metadata=_HASH)


@dataclass
class StateDigests(WireValue):
    """What a member reports to the others, so that a difference is found. There is no response.

    `diverged` is true on a node that knows that it differs from a majority.
    """

    digests: list[StateDigest] = field(metadata={"max_length": MAX_DIGESTS})
    diverged: bool = False


PeerMessage = RaftMessage | Forward | ForwardResponse | ReadIndex | ReadIndexResponse | StateDigests


restore_source(globals())
register_copies(globals())
