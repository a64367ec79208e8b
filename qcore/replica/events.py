"""The events that a driver gives to a replica, and the effects that it executes for the replica."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import register_copies, restore_source
from qcore.core.effects import (
    MembershipChanged,
    MessageDropped,
    RoleChanged,
    SaveCommit,
    Send,
    VoteGranted,
    Write,
)
from qcore.core.entry import Entry, Membership, Snapshot
from qcore.core.events import Campaign, MessageReceived, PeerUnreachable, Tick, WriteDurable
from qcore.core.version import ClusterVersion, VersionSupport
from qcore.errors import QcoreError
from qcore.replica.messages import RequestKind

# --- events -------------------------------------------------------------------------------------


@dataclass(init=False)
class ClientRequest:
    """A request from a client of this node. Ends in exactly one `Reply` with the same `request_id`.

    Attributes:
        request_id: chosen by the driver, unique within this run of the node.
        kind: see `RequestKind`.
        payload: the command or query for the state machine.
        timeout_ms: after this time without an outcome the reply is `OutcomeUnknown` (a write that may have been
            appended) or `NotLeader` / `Overloaded` (certainly without effect).
        max_staleness_ms: how old the state of a `stale_read` may be.
        user: the name of the client's user, which the driver has authenticated; empty for none.
    """

    request_id: int
    kind: RequestKind
    payload: str = field(repr=False)
    timeout_ms: int
    max_staleness_ms: int = 0
    user: str = ""

    def __init__(
        self,
        request_id: int,
        kind: RequestKind,
        payload: str,
        timeout_ms: int,
        max_staleness_ms: int = 0,
        user: str = "",
    ) -> None:
        self.request_id = request_id
        self.kind = kind
        self.payload = payload
        self.timeout_ms = timeout_ms
        self.max_staleness_ms = max_staleness_ms
        self.user = user


@dataclass
class ChangeMembers:
    """Make these the voters and learners. Ends in a `Reply` once the final configuration is committed.

    Otherwise the reply is the error `ChangeRefused`, `NotLeader` or `OutcomeUnknown`.
    `qcore.core.events.ChangeMembership` describes the fields. Leader only.
    """

    request_id: int
    voters: tuple[int, ...]
    learners: tuple[int, ...]
    addresses: tuple[tuple[int, str], ...]
    timeout_ms: int
    expected_index: int | None = None
    keys: tuple[tuple[int, str], ...] = ()


@dataclass
class AddLearner:
    """Add a learner. Ends in a `Reply` once it has caught up, or in `NotCaughtUp`. Leader only.

    Attributes:
        public_key: of the node; empty if the cluster's members have none.
    """

    request_id: int
    node_id: int
    address: str
    timeout_ms: int
    public_key: str = ""


@dataclass
class TransferLeader:
    """Transfer leadership to a voter (None: the best one). Ends in a `Reply` once another leads. Leader only."""

    request_id: int
    to: int | None
    timeout_ms: int


@dataclass
class UpgradeMachine:
    """Raise the active version of the state machine (None: to the newest that this node supports).

    Ends in a `Reply` with the active `ClusterVersion` as JSON, or in an error that states the reason. Leader only.
    """

    request_id: int
    version: int | None
    timeout_ms: int


@dataclass
class PeerVersionSupport:
    """What a member can apply, according to its `Hello`; None once it is no longer connected.

    A node with a key reports its own as well, once, when it starts. So a replica without this event needs no keys.

    Attributes:
        public_key: the key that it has proved to own; empty if it has none.
    """

    peer_id: int
    support: VersionSupport | None
    public_key: str = ""


@dataclass
class InitCluster:
    """Begin a cluster. Ends in a `Reply` once the configuration is committed, or in an error.

    With `same_everywhere` other nodes may begin the same cluster independently. The first entries then hold nothing
    that differs between nodes, not even a time stamp.
    """

    request_id: int
    membership: Membership
    timeout_ms: int
    same_everywhere: bool = False


@dataclass
class TriggerSnapshot:
    """Take a snapshot and compact the log; keep `keep_entries` entries before it."""

    keep_entries: int = 0


@dataclass
class RequestSnapshot:
    """Get a snapshot that holds everything acknowledged before this request. Ends in a `Reply` with its index.

    The core's newest snapshot then has this index or a later one. The snapshot is captured in bounded steps and
    compacts the log, as the policy's snapshots do (`ReplicaConfig.keep_entries`). Any member accepts this request.

    Attributes:
        timeout_ms: how long it may take in total.
        confirm_ms: how long a quorum may take to confirm that this node's state is recent.
        stale: accept the state that this node has applied, however old; this needs no leader and no quorum.
    """

    request_id: int
    timeout_ms: int
    confirm_ms: int
    stale: bool = False


@dataclass
class BeginWatch:
    """Begin to watch changes of the state machine. Ends in a `Reply`; `Notice` effects and a `WatchEnded` may follow.

    The result of the reply is the position after which the watch begins, as JSON: `[index, sequence]`.

    Attributes:
        watch_id: chosen by the driver, unique within this run of the node.
        request: what to watch; see `qcore.machines.interface.SupportsChanges`.
        after: the log index and sequence of the last change that the client has seen; None to begin with the changes
            that follow everything acknowledged before this request. A node that is behind this position first waits.
        timeout_ms: how long the reply may take.
        user: as of a `ClientRequest`. The watch ends when this user may no longer watch.
    """

    request_id: int
    watch_id: int
    request: str
    after: tuple[int, int] | None
    timeout_ms: int
    user: str = ""


@dataclass
class EndWatch:
    """End a watch. No `Notice` of it follows. Does nothing if there is no such watch."""

    watch_id: int


@dataclass
class ReinstallMember:
    """Replace the state of a member, and its log up to there, by a new snapshot of this leader.

    Ends in a `Reply` with the snapshot's index once the member holds it durably. Leader only.
    """

    request_id: int
    node_id: int
    timeout_ms: int


@dataclass
class KnownDiverged:
    """Before the restart this node found that it differs from a majority, at `index`. Give it with the first step."""

    index: int


@dataclass
class DiskSpaceChanged:
    """What the disk of this node has space for. Until the first such event it has enough.

    Attributes:
        is_short: the disk is almost full.
        fits_snapshot: there is space for one more snapshot of the state. If not, none is begun.
    """

    is_short: bool
    fits_snapshot: bool = True


ReplicaEvent = (
    MessageReceived
    | ClientRequest
    | InitCluster
    | UpgradeMachine
    | PeerVersionSupport
    | ChangeMembers
    | AddLearner
    | TransferLeader
    | ReinstallMember
    | KnownDiverged
    | DiskSpaceChanged
    | TriggerSnapshot
    | RequestSnapshot
    | BeginWatch
    | EndWatch
    | Tick
    | WriteDurable
    | Campaign
    | PeerUnreachable
)

# --- effects ------------------------------------------------------------------------------------


@dataclass(init=False)
class Reply:
    """The outcome of a request: a result with the log index at which it was applied or read, or an error."""

    request_id: int
    result: str | None
    index: int
    error: QcoreError | None

    def __init__(
        self, request_id: int, result: str | None, index: int, error: QcoreError | None
    ) -> None:
        self.request_id = request_id
        self.result = result
        self.index = index
        self.error = error


@dataclass(init=False)
class Applied:
    """The entry was applied to the state machine. For traces and invariants."""

    entry: Entry

    def __init__(self, entry: Entry) -> None:
        self.entry = entry


@dataclass
class Restored:
    """The state machine was restored from a snapshot. For traces and invariants."""

    snapshot: Snapshot


@dataclass
class VersionRaised:
    """An applied entry, at `index`, raised the version of the cluster."""

    version: ClusterVersion
    index: int


@dataclass
class DivergenceFound:
    """This node differs from a majority at `index`. The driver remembers it durably, for `KnownDiverged`.

    Attributes:
        what: `state` or `log`.
        own: this node's digest.
        majority: the digest of the majority.
    """

    index: int
    what: str
    own: str
    majority: str


@dataclass
class DivergenceEnded:
    """A snapshot of the leader, through `index`, replaced the state of this node: it no longer counts as diverged."""

    index: int


@dataclass(init=False)
class Notice:
    """A watch receives a change. The notices of one watch are in commit order, each change once.

    Attributes:
        index: log index of the command that made the change.
        sequence: position of the change among all changes of that command, from 0 on.
        body: what the state machine reports about the change: JSON text.
    """

    watch_id: int
    index: int
    sequence: int
    body: str

    def __init__(self, watch_id: int, index: int, sequence: int, body: str) -> None:
        self.watch_id = watch_id
        self.index = index
        self.sequence = sequence
        self.body = body


@dataclass
class WatchEnded:
    """A watch ended because of this error. No notice follows."""

    watch_id: int
    error: QcoreError


ReplicaEffect = (
    Write
    | SaveCommit
    | Send
    | Reply
    | Notice
    | WatchEnded
    | Applied
    | Restored
    | VersionRaised
    | DivergenceFound
    | DivergenceEnded
    | RoleChanged
    | VoteGranted
    | MembershipChanged
    | MessageDropped
)


restore_source(globals())
register_copies(globals())
