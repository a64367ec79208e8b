"""Raft as a pure state machine: events in, effects out. No I/O, no clock, no global state.

    core = RaftCore(config, durable_state, rng=random.Random(7), now=0)
    effects = core.step(event, now)

The driver's duties, all of them:

1. Execute the effects of one step in the order in which they are returned.
2. Writes (`SaveHardState`, `AppendLog`, `TruncateLog`, `StoreSnapshot`) reach the disk in the order of
   their `write_id`, and become durable in that order. Several may share one sync. When all
   writes up to `n` are durable, step `WriteDurable(n)`.
3. A `Send` goes out only once every write up to its `after` is durable.
4. Call `step(Tick(), now)` when `now` reaches `next_deadline()`. Early calls do no harm.
5. Never call `step` from within the handling of its effects.

Times are integer microseconds on a monotonic clock; `wall_us` is in microseconds since the Unix epoch. The events are
in `qcore.core.events`, the effects in `qcore.core.effects`, and the messages between servers in `qcore.core.messages`.
"""

from qcore.core import effects, events, messages
from qcore.core.config import RaftConfig, Safeguards
from qcore.core.entry import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.raft import RaftCore
from qcore.core.status import CoreStatus
from qcore.core.version import ClusterVersion

__all__ = [
    "ClusterVersion",
    "CoreStatus",
    "DurableState",
    "Entry",
    "HardState",
    "Membership",
    "RaftConfig",
    "RaftCore",
    "Safeguards",
    "Snapshot",
    "SnapshotMeta",
    "effects",
    "events",
    "messages",
]
