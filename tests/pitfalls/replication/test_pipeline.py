"""Deep pipelines and large batches in simulated time, with the same numbers on every machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.bench_pipeline_depth import BIG, BURST, SMALL, UNLIMITED, at_depth
from benchmarks.support.pipeline_model import Hardware, Latencies, Load, PipelineModel
from qcore.core import RaftConfig
from qcore.percentiles import percentile

DEFAULT = RaftConfig(1)
LOADS = {"small commands": SMALL, "64 KiB commands": BIG}


def p99(seen: Latencies) -> int:
    return percentile(sorted(seen.commands), 99)


def default_depth_over_best(load: Load, *, shared_syncs: bool) -> float:
    """hashicorp/raft PR#541: the commit latency at the default depth, relative to the best depth."""
    chosen = DEFAULT.max_inflight_messages
    depths = (1, 2, 4, chosen, 4 * chosen)
    found = {depth: p99(at_depth(depth, load, shared_syncs=shared_syncs)) for depth in depths}
    return found[chosen] / min(found.values())


@pytest.mark.parametrize("name", LOADS)
def test_pipeline_depth_adds_no_commit_latency(name: str) -> None:
    """All appends that reach a follower while its disk is busy share one sync."""
    assert default_depth_over_best(LOADS[name], shared_syncs=True) <= 1.05


@pytest.mark.parametrize("name", LOADS)
def test_without_shared_syncs_a_deep_pipeline_is_slow(name: str) -> None:
    """Every append in the window waits for the syncs of all appends before it."""
    assert default_depth_over_best(LOADS[name], shared_syncs=False) > 5


def burst_and_reads_beside(config: RaftConfig) -> Latencies:
    """16 MiB of large commands arrive together; later messages to a follower queue behind the window."""
    quiet = replace(config, election_timeout_min_ms=3000, election_timeout_max_ms=6000)
    return PipelineModel(quiet, Hardware()).run(BURST)


def longest_wait_us(config: RaftConfig) -> int:
    """The sum of a window on the link, a round trip, and one sync before the message."""
    machine = Hardware()
    window = config.max_inflight_bytes + config.max_batch_bytes
    on_the_link = window * 1_000_000 // machine.link_bytes_per_s
    return on_the_link + 2 * machine.link_us + machine.sync_us


def test_read_waits_behind_one_window_at_most() -> None:
    assert longest_wait_us(DEFAULT) < DEFAULT.heartbeat_ms * 1000 / 2, (
        "heartbeats are not late either"
    )
    seen = burst_and_reads_beside(DEFAULT)
    assert seen.largest_window_bytes <= DEFAULT.max_inflight_bytes + DEFAULT.max_batch_bytes
    assert max(seen.reads) <= longest_wait_us(DEFAULT)


def test_without_window_bound_read_waits_for_everything() -> None:
    seen = burst_and_reads_beside(UNLIMITED)
    assert seen.largest_window_bytes > 8 * DEFAULT.max_inflight_bytes
    assert max(seen.reads) > 5 * longest_wait_us(DEFAULT)


def test_default_window_costs_no_throughput_on_a_lan() -> None:
    """Half of the window would cost throughput."""
    best = burst_and_reads_beside(UNLIMITED).ended_us
    narrow = replace(DEFAULT, max_inflight_bytes=DEFAULT.max_inflight_bytes // 2)
    assert burst_and_reads_beside(DEFAULT).ended_us <= 1.02 * best
    assert burst_and_reads_beside(narrow).ended_us > 1.1 * best
