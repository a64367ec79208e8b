"""Availability: shares of requests and time, windows of unavailability, messages for each request."""

from __future__ import annotations

import pytest

from qcore.errors import ConfigError
from qcore.sim import parse_scenario
from qcore.sim.verdict.availability import unavailable_windows
from qcore.sim.workload.operations import ClientOperation
from tests.sim.support.scenario_texts import failures, run, seen


def write(start: int, end: int, outcome: str = "ok") -> ClientOperation:
    op = ClientOperation(1, start, "write", "k", 1, None, start, end)
    if outcome == "ok":
        op.outcome = "ok"
    elif outcome == "unknown":
        op.outcome = "unknown"
    op.return_us = end
    return op


@pytest.mark.parametrize(
    ("writes", "windows"),
    [
        ([], ()),
        ([write(0, 5), write(100, 105)], ()),  # nothing waits in between
        ([write(0, 5), write(6, 90), write(91, 99)], ((6, 90),)),
        (
            [write(0, 5), write(6, 40, "unknown"), write(41, 50, "unknown"), write(52, 60)],
            ((6, 60),),
        ),
        ([write(0, 5), write(20, 70, "unknown")], ((20, 70),)),  # no write succeeds any more
        ([write(0, 5), write(4, 60)], ((5, 60),)),  # it waits from before the last success on
        ([write(0, 80, "unknown")], ((0, 80),)),
        ([write(0, 50, "none")], ((0, 1000),)),  # it still waits at the end of the run
        ([write(0, 20), write(1, 21), write(2, 22)], ()),
    ],
)
def test_a_window_begins_when_a_write_waits(
    writes: list[ClientOperation], windows: tuple[tuple[int, int], ...]
) -> None:
    assert unavailable_windows(writes, 1000, 30) == windows


def test_the_metrics_list_the_windows() -> None:
    result = run("[{at_ms: 1000, crash: all, for_ms: 1300}]", "{min_ok_writes: 10}")
    found = result.metrics["availability"]
    assert isinstance(found, dict)
    windows = found["unavailable_windows_ms"]
    assert isinstance(windows, list)
    spans = [[float(str(end)) for end in span] for span in windows if isinstance(span, list)]
    begin, end = max(spans, key=lambda span: span[1] - span[0])
    assert 1000 <= begin < 1200
    assert end > 2300
    time, requests = found["time"], found["requests"]
    assert isinstance(time, float)
    assert isinstance(requests, float)
    assert 0.3 < time < 0.9
    assert 0.3 < requests < 1
    assert float(str(result.metrics["messages_per_operation"])) > 1


def test_longer_windows_can_be_ignored() -> None:
    lax = run(
        "[{at_ms: 1000, crash: leader, for_ms: 300}]",
        "{max_unavailable_windows: 0, availability: {time_at_least: 1, ignore_up_to_ms: 2000}}",
    )
    assert lax.ok, failures(lax)
    strict = run("[{at_ms: 1000, crash: leader, for_ms: 300}]", "{max_unavailable_windows: 0}")
    assert [each.name for each in strict.failed()] == ["max_unavailable_windows"]
    assert seen(strict)["max_unavailable_windows"].startswith("3 windows: ")


def test_without_requests_no_share_is_reached() -> None:
    result = run(
        "[]",
        "{may_do_nothing: true, availability: {requests_at_least: 0, time_at_least: 0},"
        " messages_per_operation: '>= 0'}",
        workload="{clients: 0}",
    )
    assert [each.seen for each in result.failed()] == [
        "no request was asked",
        "no write was asked; 0 windows",
        "no request was answered",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("availability: {requests_at_least: 95}", "95 is not at most 1"),
        ("availability: {request_at_least: 0.9}", "request_at_least"),
        ("messages_per_operation: 12", "write '<= 12', '>= 0.5' or"),
        ("messages_per_operation: '= 12'", "write '<= 12', '>= 0.5' or"),
        ("messages_per_operation: {at_least: 3, at_most: 2}", "the lower one comes first"),
    ],
)
def test_an_unusable_bound_is_rejected(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_scenario(f"expect: {{{text}}}")
