"""What lies between Raft and its users; pure, and shared by the simulator and the real node.

    replica = Replica(config, machine, durable_state, rng=random.Random(7), now=0)
    effects = replica.step([event, ...], now, wall_us)

The host's duties are those of `qcore.core`, with three differences: `step` takes a list of events (those
that arrived together share appends); applying and snapshots are the replica's own business; and each
`ClientRequest` ends in exactly one `Reply`.
"""

from qcore.replica.config import ReplicaConfig
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.replica import Replica
from qcore.replica.replica_status import ReplicaStatus

__all__ = ["DurabilityGate", "Replica", "ReplicaConfig", "ReplicaStatus"]
