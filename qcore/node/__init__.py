"""The node: the process that runs one replica with storage and transport, and serves clients, peers and HTTP.

    config = NodeConfig.of(1, Path("data/1"), ws_addr=Address("127.0.0.1", 8080))
    sys.exit(run_node(config, TextApplication(MyMachine())))

`run_node` runs until a signal. A program with its own event loop uses `Node` within it:

    async with Node(config, TextApplication(MyMachine()), on_leader=work) as node: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qcore.lazy_names import lazy_names

if TYPE_CHECKING:
    from qcore.node.application import Application, EntityApplication, Operation, TextApplication
    from qcore.node.config import NodeConfig
    from qcore.node.main import run_node
    from qcore.node.node import Node
    from qcore.transport.address import Address
    from qcore.transport.limits import TransportLimits
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "qcore.node.application": (
                "Application",
                "EntityApplication",
                "Operation",
                "TextApplication",
            ),
            "qcore.node.config": ("NodeConfig",),
            "qcore.node.main": ("run_node",),
            "qcore.node.node": ("Node",),
            "qcore.transport.address": ("Address",),
            "qcore.transport.limits": ("TransportLimits",),
        },
    )

__all__ = [
    "Address",
    "Application",
    "EntityApplication",
    "Node",
    "NodeConfig",
    "Operation",
    "TextApplication",
    "TransportLimits",
    "run_node",
]
