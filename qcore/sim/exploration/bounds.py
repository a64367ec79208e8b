"""`Bounds`: how large the explored cluster is, what may happen in it, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from qcore.core.config import MAX_BATCH_BYTES, RaftConfig, Safeguards
from qcore.errors import ConfigError

#: When an unsynced write becomes durable: right after the step that issued it, or at any later moment of its choice.
Sync = Literal["instant", "free"]
#: Where an exploration begins: no node has campaigned yet; or node 1 leads, and all logs are equal.
Start = Literal["fresh", "leader"]

#: What may happen a limited number of times. Each is a field of `Bounds`.
BUDGETS: Final = (
    "timeouts",
    "heartbeats",
    "crashes",
    "writes",
    "reads",
    "losses",
    "duplicates",
    "transfers",
    "changes",
    "snapshots",
)


@dataclass(slots=True, frozen=True)
class Bounds:
    """The bounds of an exploration. Within them, everything is possible.

    Messages may arrive in any order. A message may also remain in flight for ever, which is the same for the cluster as
    its loss. So `losses` adds no behaviour, only steps, and is 0 by default.

    Attributes:
        nodes: members of the cluster, all of them voters.
        timeouts: election timeouts that may fire, at all nodes together.
        heartbeats: heartbeats that leaders may send.
        crashes: crashes, each with an immediate restart. A node that is down longer receives nothing, which is possible
            anyway.
        writes: commands that clients may propose to nodes that lead.
        reads: linearizable reads that clients may request of nodes that lead.
        losses: messages that may be lost explicitly.
        duplicates: messages that may arrive and still remain in flight.
        transfers: leadership transfers that may be requested.
        changes: membership changes, to any set of voters whose size differs from `nodes` by at most one.
        spares: nodes beyond `nodes` that are no members until a change adds one.
        snapshots: snapshots that nodes may take of what they have applied.
        sync: `instant`: a write is durable right after its step, and a crash loses nothing. `free`: a sync is a choice,
            and a crash loses any suffix of the unsynced writes.
        start: where the exploration begins.
        without: safeguards that are off (fields of `Safeguards`).
        pre_vote, check_quorum: as in `RaftConfig`. Raft is safe without them, and they add many states.
        late_messages: messages of an older term than the receiver's may arrive. False: they are lost. This bound makes
            deep searches affordable, but hides faults in how old messages are handled.
        one_entry_appends: each append carries at most one entry.
    """

    nodes: int = 3
    timeouts: int = 2
    heartbeats: int = 0
    crashes: int = 0
    writes: int = 0
    reads: int = 0
    losses: int = 0
    duplicates: int = 0
    transfers: int = 0
    changes: int = 0
    spares: int = 0
    snapshots: int = 0
    sync: Sync = "instant"
    start: Start = "fresh"
    without: tuple[str, ...] = ()
    pre_vote: bool = False
    check_quorum: bool = False
    late_messages: bool = True
    one_entry_appends: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= 9:
            raise ConfigError(f"nodes: {self.nodes} is out of range; explore 1 to 9 nodes")
        for name in (*BUDGETS, "spares"):
            value = getattr(self, name)
            if not 0 <= value <= 99:
                raise ConfigError(f"{name}: {value} is out of range; it is 0 to 99")
        for name, known in (("sync", get_args(Sync)), ("start", get_args(Start))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}: {getattr(self, name)!r} is not one of {', '.join(known)}"
                )
        safeguards = [field.name for field in fields(Safeguards)]
        for name in self.without:
            if name not in safeguards:
                raise ConfigError(
                    f"without: no safeguard is called {name!r}; there are {', '.join(safeguards)}"
                )

    def config(self, node: int) -> RaftConfig:
        """The settings of one node's core."""
        return RaftConfig(
            node_id=node,
            pre_vote=self.pre_vote,
            check_quorum=self.check_quorum,
            max_batch_bytes=1 if self.one_entry_appends else MAX_BATCH_BYTES,
            safeguards=Safeguards(**dict.fromkeys(self.without, False)),
        )

    def with_changes(self, **changes: Any) -> Bounds:
        """These bounds with other values. Any: each field has its type.

        Raises:
            ConfigError: a value is out of range.
        """
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """The bounds as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Bounds:
        """Inverse of `to_json`.

        Raises:
            ConfigError: a key is unknown, or a value is out of range.
        """
        known = {field.name: field.type for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"there is no bound {name!r}; there are {', '.join(known)}")
        return cls(**{**values, "without": tuple(values.get("without", ()))})


#: Bounds for a purpose, by name.
PRESETS: Final[Mapping[str, Bounds]] = {
    "election": Bounds(timeouts=2, crashes=1, sync="free"),
    "commit": Bounds(timeouts=3, writes=1, start="leader", late_messages=False),
    # Faults of a follower that stores entries show only with a heartbeat, or with an append that arrives twice.
    "replication": Bounds(
        timeouts=1,
        heartbeats=1,
        writes=2,
        duplicates=1,
        start="leader",
        late_messages=False,
    ),
    "membership": Bounds(
        timeouts=1,
        changes=1,
        spares=1,
        start="leader",
        late_messages=False,
        one_entry_appends=False,
    ),
    "snapshot": Bounds(timeouts=1, writes=1, snapshots=1, crashes=1, start="leader"),
}


def preset(name: str) -> Bounds:
    """The bounds of a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    found = PRESETS.get(name)
    if found is None:
        raise ConfigError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return found
