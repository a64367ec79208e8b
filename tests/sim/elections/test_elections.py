"""`measure_elections` against closed forms and published figures, and its errors. Every seed is fixed."""

from __future__ import annotations

import json
from math import comb
from typing import Any

import pytest
from typer.testing import CliRunner

from qcore.cli.sim.scenarios import app
from qcore.errors import ConfigError
from qcore.sim import ElectionFigures, measure_elections


def split_probability(nodes: int, failed: int, share: float) -> float:
    """The closed form of Ongaro's dissertation, chapter 9; `share` is the latency by the range of the timeouts."""
    available = nodes - failed
    needed = (
        available - nodes // 2
    )  # how many others must time out before the first request reaches them
    return sum(
        comb(available, k) * share**k * (1 - share) ** (available - k)
        for k in range(needed, available + 1)
    )


def fresh(**changes: Any) -> ElectionFigures:
    """A measurement with the start of AvailSim. `changes`: arguments of `measure_elections`."""
    arguments = {"timeout_ms": (300, 400), "trials": 1500, "fresh_timers": True, **changes}
    return measure_elections(**arguments)


@pytest.mark.parametrize(
    ("nodes", "failed", "published"), [(3, 0, 2.8), (3, 1, 19.0), (5, 0, 0.86), (5, 2, 27.1)]
)
def test_the_closed_form_is_the_published_table(nodes: int, failed: int, published: float) -> None:
    assert 100 * split_probability(nodes, failed, 0.1) == pytest.approx(published, abs=0.05)


@pytest.mark.parametrize(("nodes", "failed", "share"), [(3, 1, 0.1), (5, 0, 0.2), (5, 2, 0.2)])
def test_votes_split_as_often_as_computed(nodes: int, failed: int, share: float) -> None:
    expected = split_probability(nodes, failed, share)
    deviation = (expected * (1 - expected) / 1500) ** 0.5
    figures = fresh(nodes=nodes, failed=failed, latency=100 * share)
    assert abs(figures.split_vote_rate - expected) < 4 * deviation
    # each term splits with the same probability, so their number is geometric
    assert figures.mean_terms == pytest.approx(1 / (1 - expected), rel=0.06)


def test_the_earliest_of_several_timeouts() -> None:
    figures = fresh(nodes=7, failed=2, latency=1)
    assert figures.first_timeout_ms == pytest.approx(300 + 100 / 6, abs=2)


@pytest.mark.parametrize(("failed", "mean", "median"), [(0, 430.0, 410), (1, 468.7, 423)])
def test_wide_area_as_published(failed: int, mean: float, median: float) -> None:
    figures = fresh(failed=failed, latency="uniform:30:40", timeout_ms=(300, 600), trials=3000)
    assert figures.mean_ms == pytest.approx(mean, rel=0.03)
    assert figures.p50_ms == pytest.approx(median, rel=0.02)
    assert figures.p999_ms is not None
    assert figures.p999_ms < 1500


def test_without_ties_the_time_is_known_exactly() -> None:
    figures = fresh(nodes=1, timeout_ms=(200, 200), trials=3)
    assert figures.times_us == (200_000,) * 3
    assert figures.messages_per_election == 0
    delayed = fresh(nodes=1, timeout_ms=(200, 200), trials=3, disk="constant:7")
    assert delayed.times_us == (207_000,) * 3


def test_a_disk_delays_the_vote_and_the_response() -> None:
    # one server is down, so exactly one vote is needed: timeout, disk, request, disk, response
    fast = fresh(nodes=3, failed=1, latency=10, trials=200)
    slow = fresh(nodes=3, failed=1, latency=10, trials=200, disk="constant:5")
    assert fast.mean_ms is not None
    assert slow.mean_ms is not None
    assert fast.times_us[0] >= 320_000
    assert slow.times_us[0] >= 330_000
    assert slow.split_vote_rate > fast.split_vote_rate


def test_a_crash_is_noticed_after_the_last_heartbeat() -> None:
    # 2 nodes cannot lose one, so 3: the two followers wait 200 to 300 ms from a heartbeat that is 0 to 100 ms old.
    figures = measure_elections(
        nodes=3,
        crash_leader=True,
        heartbeat_ms=100,
        latency=1,
        timeout_ms=(200, 300),
        trials=1000,
    )
    assert figures.first_timeout_ms == pytest.approx(200 + 100 / 3 - 50 + 1, abs=4)
    assert 100_000 < figures.times_us[0] < 200_000


def test_the_crashed_leader_is_one_of_the_failed() -> None:
    arguments: dict[str, Any] = {"crash_leader": True, "trials": 50}
    assert measure_elections(failed=0, **arguments) == measure_elections(failed=1, **arguments)
    assert measure_elections(failed=2, **arguments) != measure_elections(failed=1, **arguments)


def test_servers_that_cannot_win_make_elections_longer() -> None:
    arguments: dict[str, Any] = {"crash_leader": True, "trials": 1000, "latency": "uniform:5:10"}
    all_can = measure_elections(**arguments)
    half_can = measure_elections(ineligible=2, **arguments)
    assert all_can.mean_ms is not None
    assert half_can.mean_ms is not None
    assert half_can.mean_ms > 1.05 * all_can.mean_ms


def test_pre_votes_cost_a_round_trip() -> None:
    without = fresh(latency=20, trials=500, timeout_ms=(300, 3000))
    with_them = fresh(latency=20, trials=500, timeout_ms=(300, 3000), pre_vote=True)
    assert without.mean_ms is not None
    assert with_them.mean_ms is not None
    assert with_them.mean_ms - without.mean_ms == pytest.approx(40, abs=15)
    assert with_them.messages_per_election is not None
    assert without.messages_per_election is not None
    assert with_them.messages_per_election > 1.8 * without.messages_per_election


def test_trials_without_a_leader_are_counted() -> None:
    figures = fresh(latency=50, timeout_ms=(300, 300), trials=20, limit_ms=1000)
    assert figures.censored == 20
    assert figures.split_vote_rate == 1.0
    assert figures.mean_ms is None
    assert figures.max_ms is None
    assert figures.p50_ms is None


def test_a_percentile_beyond_the_limit_is_unknown() -> None:
    figures = fresh(nodes=3, failed=1, latency=10, trials=400, limit_ms=500)
    assert 0 < figures.censored < 200
    assert figures.p50_ms is not None
    assert figures.mean_ms is not None
    assert figures.p999_ms is None


def test_processes_do_not_change_the_figures() -> None:
    one = fresh(trials=1200, jobs=1)
    assert one == fresh(trials=1200, jobs=2)
    assert one != fresh(trials=1200, jobs=1, seed=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"failed": 3}, "at most 2 may fail"),
        ({"ineligible": 3}, "at most 2 can lack"),
        ({"latency": "uniform:3"}, "--latency.*two numbers"),
        ({"latency": "zipf:3"}, "no form 'zipf'"),
        ({"latency": "uniform:a:b"}, "no number"),
        ({"timeout_ms": (300, 200)}, "--timeout"),
        ({"heartbeat_ms": 50.0}, "--crash-leader"),
        ({"crash_leader": True}, "two different starts"),
        ({"crash_leader": True, "fresh_timers": False, "heartbeat_ms": 300.0}, "--heartbeat 300"),
        ({"trials": 0}, "--trials"),
        ({"limit_ms": float("nan")}, "--limit-ms"),
    ],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fresh(**changes)


def test_the_command_prints_the_figures() -> None:
    words = ["elections", "--nodes", "3", "--failed", "1", "--latency", "uniform:30:40"]
    words += ["--timeout", "300:600", "--trials", "50", "--fresh-timers", "-o", "json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    expected = fresh(nodes=3, failed=1, latency="uniform:30:40", timeout_ms=(300, 600), trials=50)
    assert body["mean_ms"] == expected.mean_ms
    assert body["p999_ms"] == expected.p999_ms
    assert body["split_vote_rate"] == expected.split_vote_rate
    assert body["messages_per_election"] == expected.messages_per_election
    assert body["censored"] == 0
    assert body["pre_vote"] is False


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("failed", "published"), [(0, (430.0, 410.0, 834.0)), (1, (468.7, 423.0, 1007.0))]
)
def test_a_hundred_thousand_trials_match_the_tail(
    failed: int, published: tuple[float, float, float]
) -> None:
    figures = fresh(failed=failed, latency="uniform:30:40", timeout_ms=(300, 600), trials=100_000)
    mean, median, p99 = published
    assert figures.mean_ms == pytest.approx(mean, rel=0.02)
    assert figures.p50_ms == pytest.approx(median, rel=0.02)
    assert figures.p99_ms == pytest.approx(p99, rel=0.05)


@pytest.mark.long
@pytest.mark.parametrize("nodes", [3, 5, 7, 9])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.35])
def test_the_closed_form_holds_for_other_clusters(nodes: int, share: float) -> None:
    for failed in range(nodes // 2 + 1):
        expected = split_probability(nodes, failed, share)
        deviation = (expected * (1 - expected) / 2000) ** 0.5
        figures = fresh(
            nodes=nodes,
            failed=failed,
            latency=1000 * share,
            timeout_ms=(5000, 6000),
            trials=2000,
        )
        assert abs(figures.split_vote_rate - expected) < 4 * deviation + 1e-3
