"""Runs real node processes, for `qcore.testing`, the demo, the tests and the benchmarks.

Everything here is synchronous and uses real signals: `kill -9` is SIGKILL, a pause is SIGSTOP. A cluster is a context
manager and leaves no process behind.
"""

from __future__ import annotations

from qcore.processes.node_process import NodeProcess, ProcessError, free_ports, wait_for
from qcore.processes.process_cluster import ProcessCluster
from qcore.processes.process_guard import ProcessGuard

__all__ = [
    "NodeProcess",
    "ProcessCluster",
    "ProcessError",
    "ProcessGuard",
    "free_ports",
    "wait_for",
]
