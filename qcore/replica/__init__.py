"""The replica: Raft, the state machine and client requests in one pure object, for the simulator and real nodes.

    replica = Replica(config, machine, durable_state, rng=random.Random(7), now=0)
    effects = replica.step([event, ...], now, wall_us)

`qcore.core` lists the driver's duties. There are three differences:

- `step` takes a list of events, so commands that arrive together share appends.
- The replica itself applies entries and takes snapshots.
- Each `ClientRequest` ends in exactly one `Reply`.
"""

from qcore.replica.config import ReplicaConfig
from qcore.replica.durability_gate import DurabilityGate
from qcore.replica.replica import Replica

__all__ = ["DurabilityGate", "Replica", "ReplicaConfig"]
