"""Tests for what users build on qcore.

`LocalCluster` runs a cluster of real nodes, to test a program against it. Its fixtures for pytest are in the plugin
`qcore.testing.pytest_plugin`. The conformance suites test a custom state machine or storage. The suites and the plugin
need the extra `testing`; `LocalCluster` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.testing.conformance.state_machine_conformance import StateMachineConformance
    from qcore.testing.conformance.storage_conformance import NODE_ID, Opener, StorageConformance
    from qcore.testing.local_cluster import LocalCluster
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.testing.conformance.state_machine_conformance": ("StateMachineConformance",),
            "qcore.testing.conformance.storage_conformance": (
                "NODE_ID",
                "Opener",
                "StorageConformance",
            ),
            "qcore.testing.local_cluster": ("LocalCluster",),
        },
    )

__all__ = [
    "NODE_ID",
    "LocalCluster",
    "Opener",
    "StateMachineConformance",
    "StorageConformance",
]
