"""qcore: a simulation-first Raft consensus framework.

    from qcore import Client, run_scenario

The names in `__all__` are the public API, together with the `__all__` of the packages below. See
docs/reference/compatibility.md.
A name is imported when it is first used, so `import qcore` loads only the errors and the version.

- `qcore.core`: the Raft algorithm as a pure state machine. It takes events, returns effects and does no I/O.
- `qcore.machines`: the `StateMachine` protocol, the entity store and a key-value machine.
- `qcore.storage`: the durable log, in SQLite or in memory.
- `qcore.node`: the driver for real nodes. `qcore.sim`: the deterministic simulator.
- `qcore.client`: the client library.
- `qcore.analysis`: reads traces into tables and plots.
- `qcore.testing`: clusters and scenarios for the tests of a program; suites for custom state machines and storages.

`qcore.replica` (the core, a state machine and the client sessions together), `qcore.transport` (WebSocket connections)
and `qcore.cli` (the `qcore` command) are not public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.compiled_build import BUILD  # first: it decides which files the other imports load
from qcore.errors import (
    ChangeRefused,
    ConfigError,
    DataDirLocked,
    DeadlineExceeded,
    DiskFull,
    IncompatibleVersion,
    LocalProtocolError,
    LogCorrupt,
    NotCaughtUp,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    ProposalDropped,
    ProposalError,
    ProtocolError,
    QcoreError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    ResultInvalid,
    ResultTooLarge,
    SequenceRefused,
    SessionExpired,
    SnapshotFileError,
    SnapshotGone,
    StateMachineFailed,
    StorageError,
    StoreError,
    TooLarge,
    TooStale,
    TransferFailed,
    TransferUnknown,
    TransportError,
)
from qcore.lazy_names import lazy_names
from qcore.release import __version__

if TYPE_CHECKING:
    from qcore.client.client import Client
    from qcore.client.synchronous.sync_client import SyncClient
    from qcore.core.raft import RaftCore
    from qcore.machines.interface import StateMachine
    from qcore.node.config import NodeConfig
    from qcore.node.main import run_node
    from qcore.node.node import Node
    from qcore.sim.run import run_scenario
    from qcore.sim.scenario.model import Scenario
    from qcore.testing.scenario_tests.scenario_decorator import scenario
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.client.client": ("Client",),
            "qcore.client.synchronous.sync_client": ("SyncClient",),
            "qcore.core.raft": ("RaftCore",),
            "qcore.machines.interface": ("StateMachine",),
            "qcore.node.config": ("NodeConfig",),
            "qcore.node.main": ("run_node",),
            "qcore.node.node": ("Node",),
            "qcore.sim.run": ("run_scenario",),
            "qcore.sim.scenario.model": ("Scenario",),
            "qcore.testing.scenario_tests.scenario_decorator": ("scenario",),
        },
    )

__all__ = [
    "BUILD",
    "ChangeRefused",
    "Client",
    "ConfigError",
    "DataDirLocked",
    "DeadlineExceeded",
    "DiskFull",
    "IncompatibleVersion",
    "LocalProtocolError",
    "LogCorrupt",
    "Node",
    "NodeConfig",
    "NotCaughtUp",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "ProposalDropped",
    "ProposalError",
    "ProtocolError",
    "QcoreError",
    "QuotaExceeded",
    "RaftCore",
    "Refused",
    "RemoteProtocolError",
    "ResultInvalid",
    "ResultTooLarge",
    "Scenario",
    "SequenceRefused",
    "SessionExpired",
    "SnapshotFileError",
    "SnapshotGone",
    "StateMachine",
    "StateMachineFailed",
    "StorageError",
    "StoreError",
    "SyncClient",
    "TooLarge",
    "TooStale",
    "TransferFailed",
    "TransferUnknown",
    "TransportError",
    "__version__",
    "run_node",
    "run_scenario",
    "scenario",
]
