"""The events that `RaftCore.step` takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from qcore.compiled_build import mypyc_attr, register_copies, restore_source
from qcore.core.entry import EntryKind, Membership
from qcore.core.log.compressed_text import SnapshotText
from qcore.core.version import FIRST_VERSION, ClusterVersion
from qcore.wire_value import WireValue


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class MessageReceived:
    """A message from peer `from_id` arrived: a `RaftMessage` for the core, any message of a peer for a replica."""

    from_id: int
    message: WireValue

    def __init__(self, from_id: int, message: WireValue) -> None:
        self.from_id = from_id
        self.message = message


@dataclass
class Tick:
    """The deadline may have passed."""


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class WriteDurable:
    """Every write with an id up to `write_id` is on stable storage."""

    write_id: int

    def __init__(self, write_id: int) -> None:
        self.write_id = write_id


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Propose:
    """Append these commands if this node leads. The result is `ProposalAccepted` or `ProposalRejected`.

    Either all are appended or none. `wall_us` stamps the entries. `kinds`, if given, names for each command whether it
    is a `command` (the default), a `session`, a `version` or an `access` entry. `users`, if given, names its user.
    """

    commands: list[str] = field(repr=False)
    wall_us: int
    kinds: list[EntryKind] | None = None
    users: list[str] | None = None

    def __init__(
        self,
        commands: list[str],
        wall_us: int,
        kinds: list[EntryKind] | None = None,
        users: list[str] | None = None,
    ) -> None:
        self.commands = commands
        self.wall_us = wall_us
        self.kinds = kinds
        self.users = users


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class ReadRequested:
    """A linearizable read needs an index to wait for. The result is `ReadReady` or `ReadRejected`.

    `read_id` must be new for each event: a retry is another read. With `lease` the read is ready immediately while the
    leader holds its lease. Otherwise a round of heartbeats confirms the read.
    """

    read_id: int
    lease: bool = False

    def __init__(self, read_id: int, lease: bool = False) -> None:
        self.read_id = read_id
        self.lease = lease


@dataclass
class ReadCancelled:
    """No client waits for this read any more. It gets no result; without this event the core would keep it."""

    read_id: int


@dataclass
class ChangeMembership:
    """Make these the voters and learners. The result is `ChangeAccepted` or `ChangeRejected`.

    Attributes:
        voters, learners: the complete sets of the final configuration.
        addresses: `(id, "host:port")` of members that the cluster does not know yet, or that moved.
        wall_us: stamps the entry.
        expected_index: if given, reject unless the effective configuration has this index.
        auto_leave: leave the joint phase as soon as it is committed. If false, stay in it until `LeaveJoint`.
        keys: `(id, public key)` of members that have none in the current configuration. A member's key never changes.
    """

    voters: tuple[int, ...]
    learners: tuple[int, ...]
    addresses: tuple[tuple[int, str], ...]
    wall_us: int
    expected_index: int | None = None
    auto_leave: bool = True
    keys: tuple[tuple[int, str], ...] = ()


@dataclass
class LeaveJoint:
    """Leave the joint phase of a change without `auto_leave`. The result is `ChangeAccepted` or `ChangeRejected`.

    Any later leader accepts it, too. `wall_us` stamps the entry.
    """

    wall_us: int


@dataclass
class TransferLeadership:
    """Transfer leadership to a voter (None: the best one). The result is `TransferStarted` or `TransferRejected`.

    A `RoleChanged` with another leader shows that it succeeded. The leader abandons it after an election timeout.
    """

    to: int | None


@dataclass
class Bootstrap:
    """Begin a cluster with this configuration, and with this version if given. Valid on a pristine node only.

    Raises from `step`:
        ConfigError: the node already has a log or a configuration, or the configuration is unusable.
    """

    membership: Membership
    wall_us: int
    version: ClusterVersion | None = None


@dataclass
class Campaign:
    """Act as if the election timeout had just passed. Ignored while the server's promise to a lease lasts."""


@dataclass
class PeerUnreachable:
    """Messages in flight to the peer are probably lost: probe its log before sending more."""

    peer_id: int


@dataclass
class SnapshotTaken:
    """The driver captured the state machine's state at `index` (applied) as `data`.

    The core stores it and compacts the log up to `index - keep_entries`. It compacts further if the entries that it
    would keep exceed `keep_bytes`. `checksum`: see `Snapshot`. `version` is the version of the cluster at `index`.
    """

    index: int
    data: SnapshotText = field(repr=False)
    keep_entries: int = 0
    checksum: int | None = None
    keep_bytes: int = 64 * 1024 * 1024
    version: ClusterVersion = FIRST_VERSION


@dataclass
class Reinstall:
    """On a leader: send this follower a snapshot that replaces its state and its log (`cancel`: no longer).

    See `qcore.core.log.reinstall`. Ignored for an unknown follower.
    """

    peer_id: int
    cancel: bool = False


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
    | Reinstall
)


restore_source(globals())
register_copies(globals())
