"""A leader says which members prevent the raise of the apply rules."""

from __future__ import annotations

from dataclasses import replace

from qcore.core.version import LATEST_RULES
from tests.driver.replicas import ReplicaCluster
from tests.replica.apply.test_versions import SUPPORT, report_support, with_rules


def waits_for(cluster: ReplicaCluster) -> list[str | None]:
    return [
        driver.replica.versions.raise_waits_for() for _, driver in sorted(cluster.drivers.items())
    ]


def test_only_the_leader_says_for_whom_a_raise_waits() -> None:
    cluster = ReplicaCluster(3)
    with_rules(cluster, 1)
    cluster.elect(1)
    assert waits_for(cluster) == ["node 1 supports only up to 1 (--max-rules)", None, None]

    with_rules(cluster, LATEST_RULES)
    cluster.elect(1)
    report_support(cluster, replace(SUPPORT, rules_max=1), 3)
    text = "node 2 is not connected; node 3 supports only up to 1"
    assert waits_for(cluster) == [text, None, None]
    report_support(cluster, SUPPORT)
    assert waits_for(cluster) == [None, None, None]
