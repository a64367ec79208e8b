"""Whether figures became worse, from measurements of two versions in turns.

A machine is noisy, so three things keep a verdict from chance: both versions are measured one after the other, and only
the ratio within such a pair counts; the median of the ratios decides; and a figure that became worse is measured again,
and fails only if it is worse each time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: By figure: the old and the new value of each round. More is better.
Pairs: TypeAlias = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for one figure.

    Attributes:
        name: the figure.
        old, new: medians of all rounds.
        ratios: the median of the ratios of new to old, for each time that it was measured.
        worse: whether it was worse by more than the limit each time.
    """

    name: str
    old: float
    new: float
    ratios: tuple[float, ...]
    worse: bool


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of new by old."""
    return statistics.median(new / old for old, new in pairs)


def is_worse(pairs: Sequence[tuple[float, float]], limit: float) -> bool:
    """Whether the new version is slower by more than this share."""
    return median_ratio(pairs) < 1 - limit


def judge(
    measure: Callable[[Collection[str]], Pairs],
    names: Collection[str],
    limit: float = 0.15,
    repeats: int = 2,
) -> list[Verdict]:
    """Measure, and measure again what seems to be worse.

    Args:
        measure: measures the parts with these names.
        names: the parts. The name of a figure begins with the name of its part and a colon.
        limit: the share by which a figure may become worse.
        repeats: how often a figure that seems to be worse is measured again.
    """
    first = measure(names)
    taken: dict[str, list[list[tuple[float, float]]]] = {name: [one] for name, one in first.items()}
    suspects = {name for name, pairs in first.items() if is_worse(pairs, limit)}
    for _ in range(repeats):
        if not suspects:
            break
        again = measure(sorted({part_of(name) for name in suspects}))
        for name in suspects:
            taken[name].append(again[name])
        suspects = {name for name in suspects if is_worse(again[name], limit)}
    return [_verdict(name, times, name in suspects) for name, times in taken.items()]


def part_of(figure: str) -> str:
    """The part of a figure."""
    return figure.partition(":")[0]


def _verdict(name: str, times: Sequence[Sequence[tuple[float, float]]], worse: bool) -> Verdict:
    pairs = [pair for one in times for pair in one]
    return Verdict(
        name,
        statistics.median(old for old, _ in pairs),
        statistics.median(new for _, new in pairs),
        tuple(median_ratio(one) for one in times),
        worse,
    )


def describe(verdicts: Sequence[Verdict], limit: float) -> str:
    """A table, and a last line with the result."""
    lines = [f"{'':44} {'before':>12} {'now':>12} {'now ÷ before':>13}"]
    for one in verdicts:
        ratios = ", ".join(f"{ratio:.2f}" for ratio in one.ratios)
        lines.append(
            f"{one.name:44} {one.old:12,.0f} {one.new:12,.0f} {ratios:>13}"
            f"{'   WORSE' if one.worse else ''}"
        )
    worse = [one.name for one in verdicts if one.worse]
    lines.append(
        f"worse by more than {limit:.0%}, each time it was measured: {', '.join(worse)}"
        if worse
        else f"nothing became worse by more than {limit:.0%}"
    )
    return "\n".join(lines)


def merged(rounds: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> Pairs:
    """Pairs from the figures of both versions, round by round. A figure that one version lacks is left out."""
    pairs: Pairs = {}
    for old, new in rounds:
        for name in old:
            if name in new:
                pairs.setdefault(name, []).append((old[name], new[name]))
    return pairs
