"""What can happen to a `RaftCore`: the events that `step` takes."""

from __future__ import annotations

from dataclasses import dataclass

from qcore.core.entry import Membership
from qcore.core.messages import RaftMessage


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
    """Append these commands if this node leads. Answered by `ProposalAccepted` or `ProposalRefused`.

    All or none are appended. `wall_us` stamps the entries.
    """

    commands: list[str]
    wall_us: int


@dataclass(slots=True)
class ReadRequested:
    """A linearizable read wants an index to wait for. Answered by `ReadReady` or `ReadRefused`.

    `read_id` must be new for each event: a retry is another read.
    """

    read_id: int


@dataclass(slots=True)
class Bootstrap:
    """Begin a cluster with this configuration. Valid on a pristine node only.

    Raises from `step`:
        ConfigError: the node already has a log or a configuration, or the membership is unusable.
    """

    membership: Membership
    wall_us: int


@dataclass(slots=True)
class Campaign:
    """Behave as if the election timeout had just passed."""


@dataclass(slots=True)
class PeerUnreachable:
    """What was in flight to the peer is probably lost: probe before sending more."""

    peer_id: int


@dataclass(slots=True)
class SnapshotTaken:
    """The state machine's state as of `index` (applied) was captured as `data`.

    The core stores it and drops the log up to `index - keep_entries`.
    """

    index: int
    data: str
    keep_entries: int = 0


Event = (
    MessageReceived
    | Tick
    | WriteDurable
    | Propose
    | ReadRequested
    | Bootstrap
    | Campaign
    | PeerUnreachable
    | SnapshotTaken
)
