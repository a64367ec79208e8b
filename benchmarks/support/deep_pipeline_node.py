"""A substitute for the program `qcore`: a node with up to `QCORE_BENCH_DEPTH` appends in flight to each follower."""

from __future__ import annotations

import os
from dataclasses import replace

from qcore.cli.main import main
from qcore.node.config import NodeConfig
from qcore.replica.config import ReplicaConfig


def deepen(depth: int) -> None:
    """Replace the limit of appends in flight to one follower, for which nodes have no option."""
    configured = NodeConfig.replica_config

    def deep(config: NodeConfig) -> ReplicaConfig:
        whole = configured(config)
        return replace(whole, raft=replace(whole.raft, max_inflight_messages=depth))

    NodeConfig.replica_config = deep  # type: ignore[method-assign,assignment]  # nodes have no such setting


if __name__ == "__main__":
    deepen(int(os.environ["QCORE_BENCH_DEPTH"]))
    main()
