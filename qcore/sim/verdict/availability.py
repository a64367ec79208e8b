"""How available the cluster was: the shares of requests and of time, and the windows of unavailability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    answered = sum(op.outcome == "ok" for op in history)
    writes = [op for op in history if op.writes]
    windows = unavailable_windows(writes, now, microseconds(spec.ignore_up_to_ms))
    share = None
    if writes:
        begin = min(op.invoke_us for op in writes)
        asked = max(_end(op, now) for op in writes) - begin
        lost = sum(end - start for start, end in windows)
        share = 1 - lost / asked if asked else 1.0
    return Availability(answered / len(history) if history else None, share, windows)


def unavailable_windows(
    writes: Sequence[ClientOperation], now: int, ignore_us: int
) -> tuple[tuple[int, int], ...]:
    """The windows of unavailability.

    A window begins at the first moment after an acknowledged write (or after the start) at which some write waits. It
    ends with the next acknowledged write; without one, when the last write stopped waiting.

    Args:
        writes: all writes.
        now: the end of the run.
        ignore_us: windows up to this long do not count, because each write takes a little time.
    """
    acknowledged = sorted(op.return_us for op in writes if op.outcome == "ok")
    by_begin = sorted(writes, key=lambda op: op.invoke_us)
    windows: list[tuple[int, int]] = []
    position, waits_until = 0, -1
    for start, end in zip([-1, *acknowledged], [*acknowledged, None], strict=True):
        # `waits_until` is the latest end of all writes that began by `start`.
        while position < len(by_begin) and by_begin[position].invoke_us <= start:
            waits_until = max(waits_until, _end(by_begin[position], now))
            position += 1
        if waits_until > start:
            begin = start
        elif position < len(by_begin):
            begin = by_begin[position].invoke_us
        else:
            continue
        if end is None:
            end = max(waits_until, *(_end(op, now) for op in by_begin[position:]), begin)
        if end - begin > ignore_us:
            windows.append((begin, end))
    return tuple(windows)


def _end(op: ClientOperation, now: int) -> int:
    """When the client stopped waiting for an operation."""
    return now if op.outcome is None else op.return_us


def messages_per_operation(world: SimulatedCluster) -> float | None:
    """The messages between nodes for each request that was answered with success; None without such a request."""
    answered = sum(op.outcome == "ok" for op in world.history)
    sent = sum(node.messages_sent for node in world.nodes.values())
    return sent / answered if answered else None
