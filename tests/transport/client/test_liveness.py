"""Slow or dead: what is known of a node while a request waits. Times are made up, so nothing here waits."""

from __future__ import annotations

from collections.abc import Callable

from qcore.transport.connection.liveness import Liveness
from qcore.transport.limits import TransportLimits

PROBE_AFTER_S = 0.25
SILENT_AFTER_S = 1.0
LOOK_S = 0.02


class Line:
    """A connection at a made-up time."""

    def __init__(self) -> None:
        self.last_received = 0.0
        self.untaken = 0
        self.pings: list[float] = []
        self.now = 0.0

    def unacknowledged_bytes(self) -> int:
        return self.untaken

    def ping(self) -> None:
        self.pings.append(self.now)


def watch(
    line: Line, until: float, each: Callable[[float], None] = lambda now: None
) -> float | None:
    """Look every few milliseconds from second 100 on; returns after how long the node was found dead."""
    line.last_received = 99.0
    liveness = Liveness(line, PROBE_AFTER_S, SILENT_AFTER_S)
    line.now = 100.0
    liveness.begin(line.now)
    while line.now < 100.0 + until:
        line.now += LOOK_S
        each(line.now - 100.0)
        if liveness.is_dead(line.now):
            return line.now - 100.0
    return None


def test_a_node_that_does_not_answer_the_ping_is_dead() -> None:
    line = Line()
    after = watch(line, 10)
    assert after is not None
    assert PROBE_AFTER_S + SILENT_AFTER_S <= after <= PROBE_AFTER_S + SILENT_AFTER_S + 0.1
    assert len(line.pings) == 1


def test_busy_node_that_answers_pings_is_waited_for() -> None:
    line = Line()

    def answer(now: float) -> None:
        if line.pings and line.now >= line.pings[-1] + 0.9 > line.last_received:
            line.last_received = line.now

    assert watch(line, 20, answer) is None
    assert len(line.pings) > 10


def test_one_that_dies_after_it_answered_a_ping_is_found_dead() -> None:
    line = Line()

    def answer(now: float) -> None:
        if now < 5:
            line.last_received = line.now

    after = watch(line, 20, answer)
    assert after is not None
    assert 5 < after < 5 + PROBE_AFTER_S + SILENT_AFTER_S + 0.1


def test_time_in_which_this_process_stood_still_does_not_count() -> None:
    line = Line()

    def stand_still(now: float) -> None:
        if 0.4 < now < 0.4 + 2 * LOOK_S:
            line.now += 30.0

    after = watch(line, 60, stand_still)
    assert after is not None
    assert after > 30.4 + PROBE_AFTER_S + SILENT_AFTER_S
    assert len(line.pings) == 2, "it is asked once more"


def test_progress_of_a_large_request_is_a_sign_of_life() -> None:
    line = Line()

    def take(now: float) -> None:
        line.untaken = max(1_000_000, 4_000_000 - int(now * 600_000))

    after = watch(line, 60, take)
    assert after is not None
    assert 5 < after < 5.1 + SILENT_AFTER_S + PROBE_AFTER_S


def test_kernel_acks_of_a_stopped_process_are_no_sign_of_life() -> None:
    """The client goes on to send small requests, and each of them is acknowledged."""
    line = Line()

    def send(now: float) -> None:
        line.untaken = 300 if int(now / LOOK_S) % 2 else 0

    after = watch(line, 10, send)
    assert after is not None
    assert after <= PROBE_AFTER_S + SILENT_AFTER_S + 0.1


def test_the_limits_are_those_of_a_client() -> None:
    limits = TransportLimits()
    assert (limits.probe_after_s, limits.silent_after_s) == (PROBE_AFTER_S, SILENT_AFTER_S)
