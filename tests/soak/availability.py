"""How long a history was without an acknowledged write."""

from __future__ import annotations

from collections.abc import Sequence

from qcore.sim.linearizability import Operation


def _returns_us(history: Sequence[Operation], since_us: int) -> list[int]:
    """When the acknowledged writes that began at `since_us` or later returned, sorted."""
    return sorted(
        each.return_us
        for each in history
        if each.kind != "read" and each.return_us is not None and each.invoke_us >= since_us
    )


def outage_s(history: Sequence[Operation], since_us: int) -> float | None:
    """From this moment to the response to the first write that began after it, seconds; None if there is none."""
    returns = _returns_us(history, since_us)
    return (returns[0] - since_us) / 1e6 if returns else None


def longest_pause_s(history: Sequence[Operation], until_us: int) -> float:
    """The longest time without an acknowledged write, from the first operation to `until_us`, seconds."""
    if not history:
        return 0.0
    moments = [min(each.invoke_us for each in history), *_returns_us(history, 0)]
    pauses = zip(moments, [*moments[1:], until_us], strict=True)
    return max(later - earlier for earlier, later in pauses) / 1e6
