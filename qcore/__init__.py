"""qcore: a simulation-first Raft consensus framework with a pluggable transport.

Importing this package loads only the error tree and the version. Import the rest from the subpackages:

- `qcore.core`: the Raft algorithm as a pure state machine. It takes events, returns effects and does no I/O.
- `qcore.replica`: the core, a state machine and the client sessions together. Both drivers run a replica.
- `qcore.machines`: the `StateMachine` protocol, the entity store and a key-value machine.
- `qcore.storage`: the durable log, in SQLite or in memory.
- `qcore.transport`: WebSocket connections and the messages of the wire protocol.
- `qcore.node`: the driver for real nodes. `qcore.sim`: the deterministic simulator.
- `qcore.client`: the client library. `qcore.cli`: the `qcore` command.
- `qcore.analysis`: reads traces into tables and plots.
- `qcore.testing`: test suites for custom state machines and storages.
"""

from qcore.errors import QcoreError

__all__ = ["QcoreError", "__version__"]

__version__ = "0.2.0.dev0"
