"""Run as a process in place of `qcore`: a node whose pipeline is as deep as `QCORE_BENCH_DEPTH` says."""

from __future__ import annotations

import os
from dataclasses import replace

from qcore.cli.main import main
from qcore.node.config import NodeConfig
from qcore.replica.config import ReplicaConfig


def deepen(depth: int) -> None:
    """Replace the limit of appends in flight to one follower; there is no option for it."""
    configured = NodeConfig.replica_config

    def deep(config: NodeConfig) -> ReplicaConfig:
        whole = configured(config)
        return replace(whole, raft=replace(whole.raft, max_inflight_messages=depth))

    NodeConfig.replica_config = deep  # type: ignore[method-assign,assignment]  # not a setting of nodes


if __name__ == "__main__":
    deepen(int(os.environ["QCORE_BENCH_DEPTH"]))
    main()
