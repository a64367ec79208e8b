"""Heavy frames cause no election and use little memory, and the nodes keep serving other clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.attacks import heavy_frames
from tests.process.attacks.amplification import report
from tests.process.attacks.heavy_frames import (
    JUST_BELOW,
    MIB,
    ClientImpact,
    cluster_for_frames,
    measure_impact,
)
from tests.process.conftest import assert_no_traceback

pytestmark = pytest.mark.process

#: An idle node uses 50 MiB.
MAX_PEAK_MIB = 250
#: For one answer to the other client, on a busy machine. Without the bounds an answer took seconds.
MAX_WORST_MS = 3000

#: The default timing is for an idle machine.
PATIENT = ("--election-timeout-min-ms", "1000", "--election-timeout-max-ms", "2000")


def check(impact: ClientImpact, what: str) -> None:
    report(f"{what:55} {impact.row()}")
    assert impact.elections == 0, f"{what}: {impact}"
    assert impact.peak_mib < MAX_PEAK_MIB, f"{what}: {impact}"
    assert impact.worst_ms < MAX_WORST_MS, f"{what}: {impact}"
    assert impact.answers > 0


@pytest.mark.long
def test_heavy_frames_of_four_kinds_stop_no_node(tmp_path: Path) -> None:
    kinds = ("empty objects", "empty lists in an unknown field", "nested lists", "numbers")
    with cluster_for_frames(tmp_path, *PATIENT) as (cluster, write):
        for size, what in ((16 * MIB - 1024, "16 MiB"), (JUST_BELOW, "just below the limit")):
            frames = heavy_frames.frames(size)
            impact = measure_impact(cluster, write, *(frames[kind] for kind in kinds), seconds=1.0)
            check(impact, f"four kinds together, {what}")
    assert_no_traceback(cluster)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_heavy_frames_of_every_kind_and_size_stop_no_node(tmp_path: Path) -> None:
    cases = {
        "at the bounds": heavy_frames.at_the_bounds(),
        "just below the limit": heavy_frames.frames(JUST_BELOW),
        "8 MiB": heavy_frames.frames(8 * MIB),
        "16 MiB": heavy_frames.frames(16 * MIB - 1024),
    }
    with cluster_for_frames(tmp_path) as (cluster, write):
        for size, by_name in cases.items():
            for name, frame in by_name.items():
                for connections in (1, 4):
                    impact = measure_impact(cluster, write, frame, connections=connections)
                    check(impact, f"{name}, {size}, x{connections}")
    assert_no_traceback(cluster)
