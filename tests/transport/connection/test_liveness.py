"""`Liveness` distinguishes a slow node from a dead one. The tests simulate time, so none of them waits."""

from __future__ import annotations

from collections.abc import Callable

from qcore.transport.connection.liveness import Liveness
from qcore.transport.limits import TransportLimits

PROBE_AFTER_S = 0.25
SILENT_AFTER_S = 1.0
LOOK_S = 0.02


class SimulatedConnection:
    """A connection at a simulated time."""

    def __init__(self) -> None:
        self.last_received = 0.0
        self.unacknowledged = 0
        self.pings: list[float] = []
        self.now = 0.0

    def unacknowledged_bytes(self) -> int:
        return self.unacknowledged

    def ping(self) -> None:
        self.pings.append(self.now)


def watch(
    connection: SimulatedConnection, until: float, each: Callable[[float], None] = lambda now: None
) -> float | None:
    """Look every few milliseconds from second 100 on. Returns the time until the node is considered dead."""
    connection.last_received = 99.0
    liveness = Liveness(connection, PROBE_AFTER_S, SILENT_AFTER_S)
    connection.now = 100.0
    liveness.begin(connection.now)
    while connection.now < 100.0 + until:
        connection.now += LOOK_S
        each(connection.now - 100.0)
        if liveness.is_dead(connection.now):
            return connection.now - 100.0
    return None


def test_a_node_that_does_not_answer_the_ping_is_dead() -> None:
    connection = SimulatedConnection()
    after = watch(connection, 10)
    assert after is not None
    assert PROBE_AFTER_S + SILENT_AFTER_S <= after <= PROBE_AFTER_S + SILENT_AFTER_S + 0.1
    assert len(connection.pings) == 1


def test_busy_node_that_answers_pings_is_waited_for() -> None:
    connection = SimulatedConnection()

    def answer(now: float) -> None:
        if (
            connection.pings
            and connection.now >= connection.pings[-1] + 0.9 > connection.last_received
        ):
            connection.last_received = connection.now

    assert watch(connection, 20, answer) is None
    assert len(connection.pings) > 10


def test_node_that_dies_after_it_answered_a_ping_is_dead() -> None:
    connection = SimulatedConnection()

    def answer(now: float) -> None:
        if now < 5:
            connection.last_received = connection.now

    after = watch(connection, 20, answer)
    assert after is not None
    assert 5 < after < 5 + PROBE_AFTER_S + SILENT_AFTER_S + 0.1


def test_pauses_of_this_process_do_not_count() -> None:
    connection = SimulatedConnection()

    def pause_process(now: float) -> None:
        if 0.4 < now < 0.4 + 2 * LOOK_S:
            connection.now += 30.0

    after = watch(connection, 60, pause_process)
    assert after is not None
    assert after > 30.4 + PROBE_AFTER_S + SILENT_AFTER_S
    assert len(connection.pings) == 2, "it is pinged once more"


def test_progress_of_a_large_request_is_a_sign_of_life() -> None:
    connection = SimulatedConnection()

    def acknowledge(now: float) -> None:
        connection.unacknowledged = max(1_000_000, 4_000_000 - int(now * 600_000))

    after = watch(connection, 60, acknowledge)
    assert after is not None
    assert 5 < after < 5.1 + SILENT_AFTER_S + PROBE_AFTER_S


def test_kernel_acks_of_a_stopped_process_are_no_sign_of_life() -> None:
    """The client keeps sending small requests, and the kernel acknowledges each of them."""
    connection = SimulatedConnection()

    def send(now: float) -> None:
        connection.unacknowledged = 300 if int(now / LOOK_S) % 2 else 0

    after = watch(connection, 10, send)
    assert after is not None
    assert after <= PROBE_AFTER_S + SILENT_AFTER_S + 0.1


def test_the_limits_are_those_of_a_client() -> None:
    limits = TransportLimits()
    assert (limits.probe_after_s, limits.silent_after_s) == (PROBE_AFTER_S, SILENT_AFTER_S)
