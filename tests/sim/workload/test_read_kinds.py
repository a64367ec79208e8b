"""Lease and follower reads in scenarios. Each scenario about leases fails without the safeguard that it tests."""

from __future__ import annotations

import pytest

from qcore.core.leadership import transfer
from qcore.core.raft_server import RaftServer
from qcore.sim import load_scenario, run_scenario
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import failures, run


@pytest.mark.parametrize("kind", ["lease_read", "follower_read"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reads_of_every_kind_are_linearizable_across_failover(kind: str, seed: int) -> None:
    result = run(
        "[{at_ms: 1000, isolate: leader, for_ms: 700}, {at_ms: 2500, crash: leader, for_ms: 400}]",
        "{safe: true, linearizable: true, min_ok_reads: 50}",
        seed=seed,
        cluster="{nodes: 3, lease_reads: true}",
        workload=f"{{clients: 4, rate_per_s: 120, read_fraction: 0.6, keys: 2, read_kind: {kind}}}",
        until_ms="4500",
    )
    assert result.ok, failures(result)


def test_a_lease_that_outlives_a_transfer_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """P6: if a transfer does not void the lease, its source serves a stale read."""
    path = SCENARIOS / "lease_after_transfer.yaml"
    assert run_scenario(path, 1).ok
    ask = transfer._ask

    def without_void(server: RaftServer, target: int, *, by_priority: bool) -> None:
        ask(server, target, by_priority=by_priority)
        server.lease_void = False

    monkeypatch.setattr(transfer, "_ask", without_void)
    checks = {violation.check for violation in run_scenario(path, 1).violations}
    assert checks == {"linearizability"}


def test_only_the_skewed_clock_makes_lease_reads_stale() -> None:
    """The two scenarios differ only in how reads are served."""
    stale, confirmed = (
        load_scenario(SCENARIOS / f"{name}.yaml")
        for name in ("lease_read_skew", "lease_read_skew_read_index")
    )
    assert stale.timeline == confirmed.timeline
    assert stale.cluster == confirmed.cluster
    assert stale.workload.model_copy(update={"read_kind": ("read",)}) == confirmed.workload
