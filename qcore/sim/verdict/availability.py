"""How available the cluster was: the shares of requests and of time, and the windows of unavailability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from qcore.sim.scenario.specs.expect_spec import AvailabilitySpec
from qcore.sim.scenario.values import microseconds
from qcore.sim.workload.operations import ClientOperation
from qcore.sim.world.simulated_cluster import SimulatedCluster


@dataclass(slots=True, frozen=True)
class Availability:
    """The availability of one run. Times in microseconds.

    Attributes:
        requests: the share of all requests that were answered with success; None without requests.
        time: the share of the time in which writes were asked that lies outside of `windows`; None without writes.
        windows: begin and end of each window of unavailability.
    """

    requests: float | None
    time: float | None
    windows: tuple[tuple[int, int], ...]


def availability_of(world: SimulatedCluster) -> Availability:
    """The availability of a finished run."""
    spec = world.scenario.expect.availability or AvailabilitySpec()
    history, now = world.history, world.engine.now
    answered, begin, end = 0, None, 0
    for op in history:
        answered += op.outcome == "ok"
        if op.writes:
            begin = op.invoke_us if begin is None else min(begin, op.invoke_us)
            end = max(end, _end(op, now))
    writes = (op for op in history if op.writes)
    windows = unavailable_windows(writes, now, microseconds(spec.ignore_up_to_ms))
    share = None
    if begin is not None:
        asked = end - begin
        lost = sum(end - start for start, end in windows)
        share = 1 - lost / asked if asked else 1.0
    return Availability(answered / len(history) if history else None, share, windows)


def unavailable_windows(
    writes: Iterable[ClientOperation], now: int, ignore_us: int
) -> tuple[tuple[int, int], ...]:
    """The windows of unavailability.

    A window begins at the first moment after an acknowledged write (or after the start) at which some write waits. It
    ends with the next acknowledged write; without one, when the last write stopped waiting.

    Args:
        writes: all writes, in the order in which they began.
        now: the end of the run.
        ignore_us: windows up to this long do not count, because each write takes a little time.
    """
    windows: list[tuple[int, int]] = []
    acknowledged: list[int] = []  # a heap: the acknowledgements at which no window has begun yet
    #: The beginning of the window that is open; the latest end of all writes until now.
    begin: int | None = None
    waits_until = -1
    for op in writes:
        while acknowledged and acknowledged[0] < op.invoke_us:
            start = heappop(acknowledged)
            _add_window(windows, begin, start, ignore_us)
            begin = start if waits_until > start else op.invoke_us
        if begin is None:
            begin = op.invoke_us
        waits_until = max(waits_until, _end(op, now))
        if op.outcome == "ok":
            heappush(acknowledged, op.return_us)
    for start in sorted(acknowledged):
        _add_window(windows, begin, start, ignore_us)
        begin = start if waits_until > start else None
    if begin is not None:
        _add_window(windows, begin, max(waits_until, begin), ignore_us)
    return tuple(windows)


def return_times(operations: Iterable[ClientOperation]) -> Iterator[int]:
    """The times of return, sorted.

    Args:
        operations: finished operations, in the order in which they began.
    """
    times: list[int] = []  # a heap: nothing that begins later returns before the next beginning
    for op in operations:
        while times and times[0] <= op.invoke_us:
            yield heappop(times)
        heappush(times, op.return_us)
    yield from sorted(times)


def _add_window(
    windows: list[tuple[int, int]], begin: int | None, end: int, ignore_us: int
) -> None:
    if begin is not None and end - begin > ignore_us:
        windows.append((begin, end))


def _end(op: ClientOperation, now: int) -> int:
    """When the client stopped waiting for an operation."""
    return now if op.outcome is None else op.return_us


def messages_per_operation(world: SimulatedCluster) -> float | None:
    """The messages between nodes for each request that was answered with success; None without such a request."""
    answered = sum(op.outcome == "ok" for op in world.history)
    sent = sum(node.messages_sent for node in world.nodes.values())
    return sent / answered if answered else None
