"""qcore: a simulation-first Raft consensus framework with a pluggable transport.

Importing this package is light on purpose: it brings in the error tree and the version and
nothing else. Take what you need from the subpackages:

- `qcore.core`: the Raft algorithm, events in and effects out, no I/O.
- `qcore.replica`: the core joined to a state machine; what both hosts drive.
- `qcore.machines`: the `StateMachine` protocol, the entity store and a key-value machine.
- `qcore.storage`: the durable log (SQLite) and its in-memory twin.
- `qcore.sim`: the deterministic simulator. `qcore.node`: the real node over WebSocket.
- `qcore.analysis`: traces to tables and plots.
"""

from qcore.errors import QcoreError

__all__ = ["QcoreError", "__version__"]

__version__ = "0.2.0.dev0"
