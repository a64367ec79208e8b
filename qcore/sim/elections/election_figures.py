"""`ElectionFigures`: what a series of trials showed."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from qcore.percentiles import percentile
from qcore.sim.elections.trial_loop import Outcome

#: What the figures mean, for the output of the command.
MEANINGS: Final = {
    "mean_ms": "time without a leader, of the trials that elected one",
    "p50_ms": "percentiles by nearest rank over all trials; a censored trial counts as longer than the limit",
    "split_vote_rate": "share of the trials in which several servers asked for votes in the first term in which any "
    "did, and none of them became leader in it",
    "messages_per_election": "requests for votes and pre-votes, and responses, sent until the leader was elected",
    "mean_terms": "terms that were begun until the leader was elected",
    "first_timeout_ms": "mean time until the first server campaigned",
}


@dataclass(slots=True)
class Tally:
    """The sums of some trials. Tallies of parts of a series can be added."""

    times_us: array[int] = field(default_factory=lambda: array("q"))
    terms: Counter[int] = field(default_factory=Counter)
    censored: int = 0
    splits: int = 0
    messages: int = 0
    first_timeouts: int = 0
    first_timeout_us: int = 0

    def add(self, outcome: Outcome, no_leader_from: int, first_term: int) -> None:
        """Count one trial."""
        if outcome.first_timeout_at is not None:
            self.first_timeouts += 1
            self.first_timeout_us += max(0, outcome.first_timeout_at - no_leader_from)
        if outcome.candidates > 1 and outcome.elected_term != outcome.first_term:
            self.splits += 1
        if outcome.elected_at is None:
            self.censored += 1
            return
        self.times_us.append(max(0, outcome.elected_at - no_leader_from))
        self.terms[outcome.elected_term - first_term] += 1
        self.messages += outcome.messages

    def merge(self, other: Tally) -> None:
        """Add the trials of another tally."""
        self.times_us.extend(other.times_us)
        self.terms.update(other.terms)
        self.censored += other.censored
        self.splits += other.splits
        self.messages += other.messages
        self.first_timeouts += other.first_timeouts
        self.first_timeout_us += other.first_timeout_us


@dataclass(frozen=True, slots=True)
class ElectionFigures:
    """The figures of a series of trials. Times are in milliseconds and mean time without a leader.

    Attributes:
        trials: how many there were.
        censored: how many had no leader by the limit. They count in `split_vote_rate` and in the percentiles, where
            they are longer than all others. They do not count in the means and in `max_ms`.
        limit_ms: the limit.
        mean_ms, max_ms: mean and longest time without a leader; None if every trial was censored.
        p50_ms, p90_ms, p95_ms, p99_ms, p999_ms: percentiles by nearest rank; None if it is only known that the value
            is above the limit.
        split_vote_rate: the share of the trials with a split vote. A vote is split if at least two servers asked for
            votes in the first term in which any server did, and none of them became leader in that term.
        messages_per_election: mean number of requests for votes and pre-votes, and of responses to them, that were
            sent until the leader was elected; also those to servers that are down.
        mean_terms: mean number of terms that were begun, that of the leader included.
        first_timeout_ms: mean time until the first server campaigned.
        terms: how many trials took so many terms.
        times_us: the time without a leader of each trial that elected one, sorted, µs.
    """

    trials: int
    censored: int
    limit_ms: float
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    split_vote_rate: float
    messages_per_election: float | None
    mean_terms: float | None
    first_timeout_ms: float | None
    terms: dict[int, int]
    times_us: tuple[int, ...] = field(repr=False)

    def percentile_ms(self, percent: float) -> float | None:
        """The time that so many percent of the trials do not exceed, ms; None if it is above the limit."""
        return _percentile_ms(self.times_us, self.censored, percent)

    def to_json(self) -> dict[str, object]:
        """The figures as JSON, without the single times."""
        return {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("times_us", "terms")
        }


def figures_of(tally: Tally, limit_ms: float) -> ElectionFigures:
    """Compute the figures."""
    times = tuple(sorted(tally.times_us))
    elected = len(times)

    def at(percent: float) -> float | None:
        return _percentile_ms(times, tally.censored, percent)

    def mean(total: float, digits: int = 3) -> float | None:
        return round(total / elected, digits) if elected else None

    trials = elected + tally.censored
    first = tally.first_timeout_us / tally.first_timeouts / 1000 if tally.first_timeouts else None
    return ElectionFigures(
        trials=trials,
        censored=tally.censored,
        limit_ms=limit_ms,
        mean_ms=mean(sum(times) / 1000),
        p50_ms=at(50),
        p90_ms=at(90),
        p95_ms=at(95),
        p99_ms=at(99),
        p999_ms=at(99.9),
        max_ms=times[-1] / 1000 if times else None,
        split_vote_rate=tally.splits / trials,
        messages_per_election=mean(tally.messages),
        mean_terms=mean(sum(terms * count for terms, count in tally.terms.items()), 6),
        first_timeout_ms=None if first is None else round(first, 3),
        terms=dict(sorted(tally.terms.items())),
        times_us=times,
    )


def _percentile_ms(times: tuple[int, ...], censored: int, percent: float) -> float | None:
    rank_of = range(len(times) + censored)
    rank = percentile(rank_of, percent)
    return times[rank] / 1000 if rank < len(times) else None
