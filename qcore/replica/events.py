"""What a host tells a replica, and what a replica asks of its host."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.effects import (
    MembershipChanged,
    MessageDropped,
    RoleChanged,
    SaveCommit,
    VoteGranted,
    Write,
)
from qcore.core.entry import Entry, Membership, Snapshot
from qcore.core.events import Campaign, PeerUnreachable, Tick, WriteDurable
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.errors import QcoreError
from qcore.replica.messages import PeerMessage, RequestKind

# --- events -------------------------------------------------------------------------------------


@dataclass(slots=True)
class PeerMessageReceived:
    """A message from peer `from_id` arrived."""

    from_id: int
    message: PeerMessage


@dataclass(slots=True)
class ClientRequest:
    """A request from a client of this node. Ends in exactly one `Reply` with the same `request_id`.

    Attributes:
        request_id: chosen by the host, unique within this run of the node.
        kind: see `RequestKind`.
        payload: the command or query for the state machine.
        timeout_ms: after this long without an outcome the reply is `OutcomeUnknown` (for a write that
            may have been appended) or `NotLeader` / `Overloaded` (certainly without effect).
        max_staleness_ms: how old the state may be that a `stale_read` sees.
    """

    request_id: int
    kind: RequestKind
    payload: str
    timeout_ms: int
    max_staleness_ms: int = 0


@dataclass(slots=True)
class ChangeMembers:
    """Make these the voters and learners; answered by a `Reply` once the final configuration is committed.

    The reply is an error of kind `ChangeRefused`, `NotLeader` or `OutcomeUnknown` otherwise. See
    `qcore.core.events.ChangeMembership` for the fields. Taken by the leader only.
    """

    request_id: int
    voters: tuple[int, ...]
    learners: tuple[int, ...]
    addresses: tuple[tuple[int, str], ...]
    timeout_ms: int
    expected_index: int | None = None


@dataclass(slots=True)
class AddLearner:
    """Add a learner; answered by a `Reply` once it has caught up, or by `NotCaughtUp`. Leader only."""

    request_id: int
    node_id: int
    address: str
    timeout_ms: int


@dataclass(slots=True)
class TransferLeader:
    """Hand leadership to a voter (None: the best); answered by a `Reply` once another leads. Leader only."""

    request_id: int
    to: int | None
    timeout_ms: int


@dataclass(slots=True)
class UpgradeMachine:
    """Raise the state machine's active version (None: to the newest that this node supports).

    Answered by a `Reply` with the active `ClusterVersion` as JSON, or by an error that says why not. Leader only.
    """

    request_id: int
    version: int | None
    timeout_ms: int


@dataclass(slots=True)
class PeerVersionSupport:
    """What a member said in its `Hello` that it can apply; None once it is not connected any more."""

    peer_id: int
    support: VersionSupport | None


@dataclass(slots=True)
class InitCluster:
    """Begin a cluster; answered by a `Reply` once the configuration is committed, or refused.

    With `same_everywhere` other nodes may begin the same cluster, each for itself: the first entries then hold nothing
    of this node's own, no time stamp either.
    """

    request_id: int
    membership: Membership
    timeout_ms: int
    same_everywhere: bool = False


@dataclass(slots=True)
class TriggerSnapshot:
    """Capture the state machine and compact the log, keeping `keep_entries` entries before it."""

    keep_entries: int = 0


@dataclass(slots=True)
class RequestSnapshot:
    """Have a snapshot that holds all that was acknowledged so far; answered by a `Reply` with its index.

    The snapshot is then the core's newest, or an older one than that. It is captured little by little and
    compacts the log, as the policy's are (`ReplicaConfig.keep_entries`). Taken by any member.

    Attributes:
        timeout_ms: how long it may take in all.
        confirm_ms: how long a quorum may take to confirm that this node's state is recent.
        stale: what this node has applied is recent enough; needs no leader and no quorum.
    """

    request_id: int
    timeout_ms: int
    confirm_ms: int
    stale: bool = False


ReplicaEvent = (
    PeerMessageReceived
    | ClientRequest
    | InitCluster
    | UpgradeMachine
    | PeerVersionSupport
    | ChangeMembers
    | AddLearner
    | TransferLeader
    | TriggerSnapshot
    | RequestSnapshot
    | Tick
    | WriteDurable
    | Campaign
    | PeerUnreachable
)

# --- effects ------------------------------------------------------------------------------------


@dataclass(slots=True)
class SendPeer:
    """Send once every write up to `after` is durable (0: at once). May be lost."""

    to: int
    message: PeerMessage
    after: int


@dataclass(slots=True)
class Reply:
    """The outcome of a client's request: a result with the log index it was applied or read at, or an error."""

    request_id: int
    result: str | None
    index: int
    error: QcoreError | None


@dataclass(slots=True)
class Applied:
    """The entry was applied to the state machine. For traces and invariants."""

    entry: Entry


@dataclass(slots=True)
class Restored:
    """The state machine was replaced by a snapshot. For traces and invariants."""

    snapshot: Snapshot


@dataclass(slots=True)
class VersionRaised:
    """An applied entry, at `index`, raised the version of the cluster."""

    version: ClusterVersion
    index: int


ReplicaEffect = (
    Write
    | SaveCommit
    | SendPeer
    | Reply
    | Applied
    | Restored
    | VersionRaised
    | RoleChanged
    | VoteGranted
    | MembershipChanged
    | MessageDropped
)
