"""Sentences about the rounds of an election: who asked, who granted, who did not and why."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_types import Ask, Course, Election, Round
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.voting.short_texts import (
    counted,
    duration_text,
    joined,
    moment_text,
    nodes_text,
)
from qcore.analysis.course.voting.vote_answers import UNKNOWN_REASON
from qcore.analysis.explanations.explained_text import upper_first

#: What `main_obstacle` returns if the votes split.
SPLIT: Final = "the votes split"

_EARLIER: Final = re.compile(r"(only )?([\d.]+) (µs|ms|s|min|h) earlier")
_IN_US: Final = {"µs": 1, "ms": 1e3, "s": 1e6, "min": 6e7, "h": 3.6e9}
#: A candidate that asked this long after it had begun had to store something first.
_LATE_US: Final = 1_000
_LATE_SHARE: Final = 0.2
_LOST: Final = re.compile(r"the (request|response) was lost \((.*)\)")
#: How many voters' reasons a sentence gives; the others are counted.
_MOST_REASONS: Final = 4


def round_sentences(course: Course, election: Election) -> list[str]:
    """Sentences about the rounds of an election, in the order of terms."""
    by_term: dict[int, list[Round]] = {}
    for round_ in election.rounds:
        by_term.setdefault(_target_term(round_), []).append(round_)
    sentences: list[str] = []
    terms = sorted(by_term)
    skipped = terms[2:-2] if len(terms) > 6 else []
    ended_us = None
    for term in terms:
        if term not in skipped:
            first = by_term[term][0]
            if ended_us is not None and first.start_us > ended_us:
                sentences.append(
                    f"Node {first.candidate}'s election timeout passed next, at "
                    f"{moment_text(first.start_us, course.begin_us)}, {duration_text(first.start_us - ended_us)} "
                    "later."
                )
            ended_us = max(round_.end_us for round_ in by_term[term])
            sentences += _Term(course, election, term, by_term[term]).sentences()
        elif term == skipped[0]:
            ended_us = None
            number = sum(len(by_term[other]) for other in skipped)
            sentences.append(
                f"Terms {skipped[0]} to {skipped[-1]} passed in the same way, without a leader, in "
                f"{counted(number, 'round')}."
            )
    return sentences


def _target_term(round_: Round) -> int:
    return round_.term + (round_.kind == "pre_vote")


@dataclass(slots=True, frozen=True)
class _Term:
    """The rounds for one term: first pre-votes, then votes."""

    course: Course
    election: Election
    term: int
    rounds: Sequence[Round]

    def sentences(self) -> Iterator[str]:
        pre_votes = [r for r in self.rounds if r.kind == "pre_vote"]
        votes = [r for r in self.rounds if r.kind == "vote"]
        failed = [r for r in pre_votes if r.result in ("lost", "open")]
        won = [r for r in pre_votes if r.result == "won"]
        # A round that began long before the one that won failed, although a leader or a newer term ended it.
        near_us = min((2 * r.start_us - r.end_us for r in won), default=self.course.end_us + 1)
        superseded = [r for r in pre_votes if r.result == "superseded"]
        failed += [r for r in superseded if r.start_us < near_us]
        failed.sort(key=lambda r: r.start_us)
        yielded = [r for r in superseded if r.start_us >= near_us]
        if len(won) == 1 and not votes:
            failed = [*failed, *won]  # it died, or the trace ends, before it asked for votes
            won = []
        repeated = {r.candidate for r in failed}
        failed += [r for r in yielded if r.candidate in repeated]
        yielded = [r for r in yielded if r.candidate not in repeated]
        yield from self._failed_pre_votes(failed)
        alone = votes[0] if len(won) == len(votes) == 1 else None
        if alone is not None and alone.result != "won" and alone.candidate == won[0].candidate:
            took = duration_text(won[0].end_us - won[0].start_us)
            begin = f"Node {alone.candidate} won the pre-votes for term {self.term} in {took}"
            yield from self._failed_votes([alone], begin)
            votes = []
        elif len(won) == 1:
            yield from self._won(won[0])
        elif won:
            yield self._competing(won)
        if yielded:
            ends = dict.fromkeys(r.why for r in yielded)
            yield f"{_nodes(yielded)} asked for pre-votes, too, until {joined(ends)}."
        yield from self._votes(votes)

    def _competing(self, won: Sequence[Round]) -> str:
        if len({r.candidate for r in won}) == 1:
            return f"{_nodes(won)} won the pre-votes for term {self.term} {len(won)} times."
        ends = [r.end_us for r in won]
        within = duration_text(max(ends) - min(ends))
        return (
            f"{_nodes(won)} won the pre-votes for term {self.term} within {within} of each other, so each became a "
            "candidate."
        )

    def _won(self, round_: Round) -> Iterator[str]:
        """A round with a majority."""
        granted = [ask.voter for ask in round_.asked if _granted_in_time(ask, round_)]
        took = duration_text(round_.end_us - round_.start_us)
        voters = self._voters([round_])
        if round_.kind == "pre_vote":
            begin = f"Node {round_.candidate} asked {_asked(round_)} for pre-votes"
        else:
            begin = f"Node {round_.candidate} became a candidate in term {self.term}"
        if not granted and voters == 1:
            yield f"{begin} and needed no other vote: it was the only voter."
            return
        if not granted:
            yield f"{begin} and had a majority after {took}; the trace does not show the answers."
            return
        text = (
            f"{begin} and had a majority ({len(granted) + 1} of {voters}) after {took}{_arrival(round_, voters)}, from "
            f"{nodes_text(granted)} and itself"
        )
        rejections = [
            ask
            for ask in round_.asked
            if ask.answer == "rejected" and (ask.answered_us or 0) <= round_.end_us
        ]
        yield f"{text}; {'; '.join(reasons(rejections))}." if rejections else f"{text}."
        yield from self._before_it_asked(round_)
        yield from self._without_configuration(round_)

    def _before_it_asked(self, round_: Round) -> Iterator[str]:
        """What the candidate did before it asked, if this took long."""
        first_us = min(
            (ask.sent_us for ask in round_.asked if ask.received_us is not None),
            default=round_.start_us,
        )
        late_us = first_us - round_.start_us
        if late_us < max(_LATE_US, _LATE_SHARE * (round_.end_us - round_.start_us)):
            return
        late = duration_text(late_us)
        if round_.kind == "vote":
            yield f"Its requests left {late} after the round had begun: it first had to store its own vote on its disk."
            return
        durable = self.course.tracks[round_.candidate].durable
        place = bisect_right(durable.times, first_us) - 1
        if place < 0 or durable.times[place] <= round_.start_us:
            yield f"Its requests left {late} after the round had begun. The trace does not show why."
            return
        took = duration_text(durable.times[place] - round_.start_us)
        yield (
            f"Its requests left {late} after the round had begun: it first had to store its log through entry "
            f"{durable.values[place]:,} on its disk, which took {took}."
        )

    def _without_configuration(self, round_: Round) -> Iterator[str]:
        """Voters that did not know yet that they were voters."""
        unaware = [
            ask.voter
            for ask in round_.asked
            if ask.answer == "granted"
            and ask.received_us is not None
            and (moment := node_at(self.course, ask.voter, ask.received_us)).role == "learner"
            and moment.log.last_index == 0
        ]
        if not unaware or round_.kind != "pre_vote":
            return
        many = len(unaware) > 1
        logs = "logs were" if many else "log was"
        they = "they were learners" if many else "it was a learner"
        yield (
            f"{upper_first(nodes_text(unaware))} answered although {they}, whose {logs} still empty: only the log of "
            f"node {round_.candidate} held the configuration in which all of them vote. A node answers whether or not "
            "it knows that it is a voter."
        )

    def _failed_pre_votes(self, rounds: Sequence[Round]) -> Iterator[str]:
        """Rounds for pre-votes without a majority, the same ones of several candidates together."""
        by_reasons: dict[tuple[str, ...], list[Round]] = {}
        varied: set[tuple[str, ...]] = set()
        for candidate in dict.fromkeys(r.candidate for r in rounds):
            of_candidate = [r for r in rounds if r.candidate == candidate]
            why, varies = _typical_reasons(of_candidate)
            by_reasons.setdefault(why, []).extend(of_candidate)
            if varies:
                varied.add(why)
        for why, group in by_reasons.items():
            text = "; ".join(why)
            yield self._failed(group, f"most often, {text}" if text and why in varied else text)
        if varied:
            yield from self._last_refusals(max(rounds, key=lambda r: r.start_us))

    def _last_refusals(self, last: Round) -> Iterator[str]:
        """What voters answered in the last round, if it went in another way than most."""
        refused = [ask for ask in last.asked if ask.answer == "rejected"]
        if refused:
            begin = f"In the last round, at {moment_text(last.start_us, self.course.begin_us)}"
            yield f"{begin}, node {last.candidate} got other answers: {'; '.join(reasons(refused))}."

    def _failed(self, group: Sequence[Round], why: str) -> str:
        first = min(group, key=lambda r: r.start_us)
        if not any(r.asked for r in group):
            return f"{_nodes(group)} campaigned, but the trace shows no request for a vote."
        voters = self._voters(group)
        most = max(sum(_granted_in_time(ask, r) for ask in r.asked) for r in group)
        start_us = moment_text(first.start_us, self.course.begin_us)
        if len(group) == 1:
            text = f"Node {first.candidate} asked {_asked(first)} for pre-votes at {start_us}"
        else:
            end_us = moment_text(max(r.end_us for r in group), self.course.begin_us)
            times = "twice" if len(group) == 2 else f"{len(group):,} times"
            text = f"{_nodes(group)} asked for pre-votes {times} from {start_us} to {end_us}"
        needed = voters // 2
        pronoun = "it" if len({r.candidate for r in group}) == 1 else "they"
        if most >= needed:
            outcome = "and got a majority, but no votes followed"
        elif most:
            at_most = "at most" if len(group) > 1 else "only"
            outcome = f"but got {at_most} {most} of the {needed} that {pronoun} needed"
        elif needed == 1:
            outcome = f"but did not get the one that {pronoun} needed"
        else:
            outcome = f"but got none of the {needed} that {pronoun} needed"
        return f"{text}, {outcome}{f': {why}' if why else ''}."

    def _votes(self, rounds: Sequence[Round]) -> Iterator[str]:
        won = next((r for r in rounds if r.result == "won"), None)
        others = [r for r in rounds if r.result != "won"]
        if won is not None:
            yield from self._won(won)
            if others:
                yield (
                    f"{_nodes(others)} {_was(others)}, too: the votes of term {self.term} were {self._split()}."
                )
        elif len({r.candidate for r in others}) > 1:
            voters = self._voters(others)
            yield (
                f"In term {self.term}, {_low(_nodes(others))} split the votes {self._split()}: none had the necessary "
                f"{voters // 2 + 1} of {voters}."
            )
        else:
            for other in others:
                yield from self._failed_votes(
                    [other], f"Node {other.candidate} became a candidate in term {self.term}"
                )

    def _failed_votes(self, rounds: Sequence[Round], begin: str) -> Iterator[str]:
        """A candidate without a majority."""
        for round_ in rounds:
            voters = self._voters([round_])
            got = sum(_granted_in_time(ask, round_) for ask in round_.asked) + 1
            took = duration_text(round_.end_us - round_.start_us)
            why = reasons(round_.asked)
            because = f": {'; '.join(why)}" if why else ""
            if round_.result == "open":
                yield f"{begin}, and had {got} of {voters} votes when the trace ended{because}."
            else:
                yield f"{begin}, but had only {got} of {voters} votes {took} later{because}."

    def _voters(self, rounds: Sequence[Round]) -> int:
        """How many voters there were. A candidate asks all others, unless it has no connection."""
        first = rounds[0]
        asked = max(len(r.asked) for r in rounds) + 1
        configs = self.course.tracks[first.candidate].configs
        place = bisect_right(configs, first.start_us, key=lambda config: config.t_us)
        if place:
            return max(asked, len(configs[place - 1].voters))
        return asked if asked > 1 else len(self.course.tables.voters)

    def _split(self) -> str:
        """How the votes of the term split: `2 to 2`."""
        cast = Counter(
            vote.candidate
            for track in self.course.tracks.values()
            for vote in track.votes
            if vote.term == self.term
            and self.election.start_us <= vote.t_us <= self.election.end_us
        )
        return " to ".join(str(votes) for _, votes in cast.most_common())


def reasons(asked: Iterable[Ask]) -> list[str]:
    """Why voters did not grant, those with the same reason together."""
    groups: dict[tuple[str, str], list[Ask]] = {}
    for ask in asked:
        if ask.answer != "granted":
            groups.setdefault((ask.answer, _EARLIER.sub("earlier", ask.why)), []).append(ask)
    texts = [_reason(group) for group in groups.values()]
    if len(texts) > _MOST_REASONS:
        rest = counted(len(texts) - _MOST_REASONS + 1, "other voter did", "other voters did")
        texts = [*texts[: _MOST_REASONS - 1], f"{rest} not grant either"]
    return texts


def _reason(group: Sequence[Ask]) -> str:
    voters = [ask.voter for ask in group]
    why = group[0].why
    lost = _LOST.fullmatch(why)
    if lost is not None:
        kind, how = lost.groups()
        preposition = "to" if kind == "request" else "of"
        plural = len(voters) > 1
        return (
            f"the {kind}{'s' if plural else ''} {preposition} {nodes_text(voters)} "
            f"{'were' if plural else 'was'} lost ({how})"
        )
    if len(group) > 1:
        times = [found for ask in group if (found := _EARLIER.search(ask.why)) is not None]
        if times:
            longest = max(times, key=lambda found: float(found[2]) * _IN_US[found[3]])
            why = _EARLIER.sub(f"at most {longest[2]} {longest[3]} earlier", why)
        why = _in_plural(why)
    if why == UNKNOWN_REASON:
        return f"{nodes_text(voters)} rejected ({why})"
    if group[0].answer == "rejected":
        return f"{nodes_text(voters)} rejected, because {why}"
    if why.startswith("it ") or why.startswith("they "):
        return f"{nodes_text(voters)} {why.partition(' ')[2]}"
    return f"{nodes_text(voters)} did not answer ({why})"


def _in_plural(why: str) -> str:
    for one, many in (
        (r"\bit had\b", "they had"),
        (
            r"\bit was a candidate in this term itself\b",
            "they were candidates in this term themselves",
        ),
        (r"\bit was\b", "they were"),
        (r"\breached it\b", "reached them"),
        (r"\bconnection to it, or its queue\b", "connection to them, or their queues"),
        (r"\bqueues was full\b", "queues were full"),
        (r"\bit went\b", "they went"),
        (r"\bit knew\b", "they knew"),
        (r"\bit did\b", "they did"),
        (r"\bbefore it responded\b", "before they responded"),
        (r"\bits log was\b", "their logs were"),
        (r"\bits promise to\b", "their promises to"),
        (r"\blease was still active\b", "lease were still active"),
    ):
        why = re.sub(one, many, why)
    return why


def main_obstacle(rounds: Iterable[Round]) -> str:
    """What kept candidates from a majority for the longest time, in a few words; empty if that is not clear."""
    weights: Counter[str] = Counter()
    for round_ in rounds:
        length_us = round_.end_us - round_.start_us
        if round_.result == "split":
            weights[SPLIT] += length_us * max(len(round_.asked), 1)
        elif round_.result != "won":
            for ask in round_.asked:
                weights[_obstacle(ask)] += length_us
    del weights[""]
    return weights.most_common(1)[0][0] if weights else ""


def _obstacle(ask: Ask) -> str:
    lost = _LOST.fullmatch(ask.why)
    if lost is not None:
        return f"messages were lost ({lost[2]})"
    for part, obstacle in (
        ("heard from leader", "voters still heard from the old leader"),
        ("message of leader", "voters still heard from the old leader"),
        ("it led term", "voters still heard from the old leader"),
        ("more up to date", "voters had logs that were more up to date"),
        ("no connection", "too many voters had no connection"),
        ("was down", "too many voters were down"),
        ("was paused", "too many voters were paused"),
        ("had voted for", "voters had voted for another candidate"),
        ("a candidate in this term", "voters had voted for another candidate"),
        ("already in term", "voters were already in a newer term"),
        ("in flight", "messages were still on the way"),
    ):
        if part in ask.why:
            return obstacle
    return ""


def _typical_reasons(rounds: Sequence[Round]) -> tuple[tuple[str, ...], bool]:
    """The most frequent reasons in the rounds of one candidate, and whether there are others."""
    by_pattern: dict[tuple[tuple[int, str, str], ...], list[Round]] = {}
    for round_ in rounds:
        pattern = tuple(
            (ask.voter, ask.answer, _EARLIER.sub("earlier", ask.why)) for ask in round_.asked
        )
        by_pattern.setdefault(pattern, []).append(round_)
    most = max(by_pattern.values(), key=len)
    return tuple(reasons(most[0].asked)), len(by_pattern) > 1


def _granted_in_time(ask: Ask, round_: Round) -> bool:
    return (
        ask.answer == "granted" and ask.answered_us is not None and ask.answered_us <= round_.end_us
    )


def _arrival(round_: Round, voters: int) -> str:
    """When the answer arrived that made the majority, if the candidate needed time until it acted on it."""
    times = sorted(
        ask.answered_us
        for ask in round_.asked
        if _granted_in_time(ask, round_) and ask.answered_us is not None
    )
    needed = voters // 2
    if len(times) < needed:
        return ""
    arrived = duration_text(times[needed - 1] - round_.start_us)
    if arrived == duration_text(round_.end_us - round_.start_us):
        return ""
    return f" (the deciding answer arrived after {arrived})"


def _asked(round_: Round) -> str:
    return nodes_text(ask.voter for ask in round_.asked) if round_.asked else "no node"


def _nodes(rounds: Iterable[Round]) -> str:
    return upper_first(nodes_text({r.candidate for r in rounds}))


def _low(text: str) -> str:
    return text[:1].lower() + text[1:]


def _was(rounds: Sequence[Round]) -> str:
    return "was a candidate" if len({r.candidate for r in rounds}) == 1 else "were candidates"
