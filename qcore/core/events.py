"""What can happen to a `RaftCore`: the events that `step` takes."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.entry import EntryKind, Membership
from qcore.core.messages import RaftMessage
from qcore.core.version import FIRST_VERSION, ClusterVersion


@dataclass(slots=True)
class MessageReceived:
    """A message from peer `from_id` arrived."""

    from_id: int
    message: RaftMessage


@dataclass(slots=True)
class Tick:
    """The deadline may have passed."""


@dataclass(slots=True)
class WriteDurable:
    """Every write with an id up to `write_id` is on stable storage."""

    write_id: int


@dataclass(slots=True)
class Propose:
    """Append these commands if this node leads. Answered by `ProposalAccepted` or `ProposalRejected`.

    All or none are appended. `wall_us` stamps the entries. `kinds`, if given, says of each whether it is
    a `command` (the default), a `session` or a `version` entry.
    """

    commands: list[str]
    wall_us: int
    kinds: list[EntryKind] | None = None


@dataclass(slots=True)
class ReadRequested:
    """A linearizable read wants an index to wait for. Answered by `ReadReady` or `ReadRejected`.

    `read_id` must be new for each event: a retry is another read. With `lease` the leader's lease
    answers at once while it holds; else, and without, a round of heartbeats confirms the read.
    """

    read_id: int
    lease: bool = False


@dataclass(slots=True)
class ReadCancelled:
    """Nobody waits for this read any more. It gets no answer; without this, it would be kept until it gets one."""

    read_id: int


@dataclass(slots=True)
class ChangeMembership:
    """Make these the voters and learners. Answered by `ChangeAccepted` or `ChangeRejected`.

    Attributes:
        voters, learners: the whole sets that shall be in force in the end.
        addresses: `(id, "host:port")` of members that the cluster does not know yet, or that moved.
        wall_us: stamps the entry.
        expected_index: if given, refuse unless the configuration in force is that of this index.
        auto_leave: leave the joint phase as soon as it is committed; else stay in it until `LeaveJoint`.
    """

    voters: tuple[int, ...]
    learners: tuple[int, ...]
    addresses: tuple[tuple[int, str], ...]
    wall_us: int
    expected_index: int | None = None
    auto_leave: bool = True


@dataclass(slots=True)
class LeaveJoint:
    """Leave the joint phase of a change that asked to stay in it. Answered by `ChangeAccepted` or `ChangeRejected`.

    Any later leader can be told. `wall_us` stamps the entry.
    """

    wall_us: int


@dataclass(slots=True)
class TransferLeadership:
    """Hand over to a voter (None: the best one). Answered by `TransferStarted` or `TransferRejected`.

    That it worked shows in a `RoleChanged` with another leader; it is given up after an election timeout.
    """

    to: int | None


@dataclass(slots=True)
class Bootstrap:
    """Begin a cluster with this configuration, and with this version if one is given. Valid on a pristine node only.

    Raises from `step`:
        ConfigError: the node already has a log or a configuration, or the membership is unusable.
    """

    membership: Membership
    wall_us: int
    version: ClusterVersion | None = None


@dataclass(slots=True)
class Campaign:
    """Behave as if the election timeout had just passed; ignored while the server's promise to a lease lasts."""


@dataclass(slots=True)
class PeerUnreachable:
    """What was in flight to the peer is probably lost: find out what it holds before sending more."""

    peer_id: int


@dataclass(slots=True)
class SnapshotTaken:
    """The state machine's state as of `index` (applied) was captured as `data`.

    The core stores it and drops the log up to `index - keep_entries`, or further, so that what it keeps of
    what the snapshot covers is at most `keep_bytes`. `checksum`: see `Snapshot`. `version` is the version of the
    cluster as of `index`.
    """

    index: int
    data: str
    keep_entries: int = 0
    checksum: int | None = None
    keep_bytes: int = 64 * 1024 * 1024
    version: ClusterVersion = FIRST_VERSION


Event = (
    MessageReceived
    | Tick
    | WriteDurable
    | Propose
    | ReadRequested
    | ReadCancelled
    | Bootstrap
    | Campaign
    | PeerUnreachable
    | SnapshotTaken
    | ChangeMembership
    | LeaveJoint
    | TransferLeadership
)
