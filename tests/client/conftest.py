"""The fixtures of the tests with real nodes."""

from tests.process.conftest import cluster, ready_cluster, shared_cluster

__all__ = ["cluster", "ready_cluster", "shared_cluster"]
