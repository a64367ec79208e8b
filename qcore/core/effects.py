"""The effects of a `RaftCore`: what `step` asks the driver to do, in order.

Writes carry a `write_id` that grows by one with each write. A send names in `after` the write that
must be durable first. See the package docstring for the driver's duties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qcore.compiled_build import mypyc_attr, register_copies, restore_source
from qcore.core.entry import Entry, HardState, Membership, Snapshot
from qcore.core.messages import RaftMessage
from qcore.wire_value import WireValue

Role = Literal["follower", "pre_candidate", "candidate", "leader", "learner"]


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class SaveHardState:
    """Store term, vote, commit index and promise."""

    write_id: int
    hard_state: HardState

    def __init__(self, write_id: int, hard_state: HardState) -> None:
        self.write_id = write_id
        self.hard_state = hard_state


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class AppendLog:
    """Store entries after the current end of the log."""

    write_id: int
    entries: list[Entry]

    def __init__(self, write_id: int, entries: list[Entry]) -> None:
        self.write_id = write_id
        self.entries = entries


@dataclass
class TruncateLog:
    """Remove the entry at `from_index` and all that follow."""

    write_id: int
    from_index: int


@dataclass
class StoreSnapshot:
    """Store the snapshot, atomically with the removal of the log prefix that it replaces.

    Remove the entries up to `compact_through`. With `reset_log` remove every entry: the snapshot came
    from a leader, and the log conflicts with it or ends before it.
    """

    write_id: int
    snapshot: Snapshot
    compact_through: int
    reset_log: bool


Write = SaveHardState | AppendLog | TruncateLog | StoreSnapshot


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class SaveCommit:
    """The commit index moved. May be stored with the next write; needs no separate sync."""

    commit: int

    def __init__(self, commit: int) -> None:
        self.commit = commit


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Send:
    """Send once every write up to `after` is durable (0: immediately). The message may be lost.

    The core sends `RaftMessage`s. A replica passes them on, and sends the other messages for peers the same way.
    """

    to: int
    message: WireValue
    after: int

    def __init__(self, to: int, message: WireValue, after: int) -> None:
        self.to = to
        self.message = message
        self.after = after


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class Apply:
    """These entries are committed: apply them, in order. Each index comes exactly once, without gaps."""

    entries: list[Entry]

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries


@dataclass
class RestoreMachine:
    """Replace the state machine's state by the snapshot's. The next `Apply` continues from there."""

    snapshot: Snapshot


@dataclass
class RoleChanged:
    """Role, term or known leader changed."""

    role: Role
    term: int
    leader_id: int | None


@dataclass
class VoteGranted:
    """This server granted a vote, or voted for itself. For traces and invariants."""

    term: int
    candidate_id: int


@dataclass
class MembershipChanged:
    """The effective configuration changed: it was appended, truncated away, or restored."""

    membership: Membership
    index: int


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class ProposalAccepted:
    """The commands of one `Propose` have consecutive indexes from `first_index`, in `term`."""

    first_index: int
    count: int
    term: int

    def __init__(self, first_index: int, count: int, term: int) -> None:
        self.first_index = first_index
        self.count = count
        self.term = term


@dataclass
class ProposalRejected:
    """No command of one `Propose` was appended."""

    reason: Literal["not_leader", "overloaded", "transferring"]


@dataclass
class ChangeAccepted:
    """The change's first configuration was appended at `index`. With `auto_leave` the leader appends the last one."""

    index: int
    term: int


@dataclass
class ChangeRejected:
    """The change did not begin. `name` is stable, `reason` is for humans."""

    name: str
    reason: str


@dataclass
class TransferStarted:
    """Leadership is being transferred to `target`; proposals are rejected meanwhile."""

    target: int


@dataclass
class TransferRejected:
    """The transfer did not begin. `name` is stable, `reason` is for humans."""

    name: str
    reason: str


@mypyc_attr(acyclic=True)
@dataclass(init=False)
class ReadReady:
    """The read may be served from a state machine that has applied `index`."""

    read_id: int
    index: int

    def __init__(self, read_id: int, index: int) -> None:
        self.read_id = read_id
        self.index = index


@dataclass
class ReadRejected:
    """This node is not (or no longer) the leader. The client may try the read elsewhere."""

    read_id: int


@dataclass
class MessageDropped:
    """A malformed or invalid message was ignored; `reason` says why. For traces."""

    from_id: int
    message: RaftMessage
    reason: str


Effect = (
    Write
    | SaveCommit
    | Send
    | Apply
    | RestoreMachine
    | RoleChanged
    | VoteGranted
    | MembershipChanged
    | ProposalAccepted
    | ProposalRejected
    | ChangeAccepted
    | ChangeRejected
    | TransferStarted
    | TransferRejected
    | ReadReady
    | ReadRejected
    | MessageDropped
)


restore_source(globals())
register_copies(globals())
