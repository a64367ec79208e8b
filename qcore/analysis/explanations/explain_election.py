"""Explains an election: what began it, what each round brought, and where the time went."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from qcore.analysis.course.course_types import Course, Election
from qcore.analysis.course.node_tracks import node_at
from qcore.analysis.course.voting.election_causes import SILENT_NOTE
from qcore.analysis.course.voting.leader_contacts import last_contact
from qcore.analysis.course.voting.short_texts import (
    counted,
    duration_text,
    joined,
    moment_text,
    nodes_text,
)
from qcore.analysis.explanations.explained_text import (
    Explanation,
    share_text,
    upper_first,
    whole_and_parts,
)
from qcore.analysis.explanations.lost_ends import KILLED, down_text, lost_end_of, lost_end_sentences
from qcore.analysis.explanations.round_sentences import SPLIT, main_obstacle, round_sentences
from qcore.analysis.spans import PAUSE

#: No election timeout is that short.
_IMMEDIATE_US: Final = 1_000
#: What a trace says of the end of a process -> what a sentence says.
_STOPS: Final = {
    "crash": "it crashed",
    "power loss": "a power loss stopped it",
}
_STOPPED: Final = {"stopped": "was stopped", "crash": "crashed"}
#: The part of an election in which the old leader still led, without a majority.
_STILL_LED: Final = "leader without a majority"
#: The part of an election after the winner was elected.
_FIRST_COMMIT: Final = "first commit"


def explain_election(course: Course, election: Election) -> Explanation:
    """Explain an election of a course: see `explain`."""
    return Explanation(_title(election), tuple(_Sentences(course, election).all()))


def _title(election: Election) -> str:
    name = f"Election {election.number}"
    took = duration_text(election.whole_us)
    if election.outcome == "elected":
        return f"{name}: node {election.winner} elected in term {election.term} after {took}"
    if election.outcome == "open":
        return f"{name}: no leader with a majority for {took}, until the trace ends"
    candidates = {round_.candidate for round_ in election.rounds}
    verb = "campaigns" if len(candidates) == 1 else "campaign"
    return f"{name}: {nodes_text(candidates)} {verb} for {took} without success"


class _Sentences:
    """The sentences about one election."""

    def __init__(self, course: Course, election: Election) -> None:
        self._course = course
        self._election = election

    def all(self) -> Iterator[str]:
        election = self._election
        yield self._cause()
        yield from self._after_cause()
        yield from self._detection()
        yield from self._simulated_entries()
        yield from round_sentences(self._course, election)
        if election.outcome == "elected":
            yield self._ready()
            if election.term == election.old_term:
                both = nodes_text([election.winner or 0, election.old_leader or 0])
                yield f"{upper_first(both)} both led term {election.term}: that violates election safety."
            yield from self._parts()
        elif election.outcome == "open":
            yield from self._open()
        else:
            yield from self._abandoned()

    # -- how it began -----------------------------------------------------------------------------

    def _cause(self) -> str:
        election = self._election
        when = self._moment(election.cause_us)
        if election.old_leader is None:
            began = election.cause_note or "started"
            return f"Node {election.rounds[0].candidate} {began} at {when}; no node had led before."
        led = f"Node {election.old_leader} led term {election.old_term}"
        note = election.cause_note.replace(f"node {election.old_leader} ", "it ", 1)
        match election.cause:
            case "crash" if note == SILENT_NOTE:
                return self._killed(led, when)
            case "crash":
                stop = _STOPS.get(note, f"it stopped ({note})")
                return f"{led} until {when}, when {stop}."
            case "stopped":
                return f"{led} until {when}, when it was stopped."
            case "pause" if not note:
                return f"{led} until {when}, when its process was paused."
            case "pause":
                return f"{led}; at {when}, {note}, so it heard nothing from the leader."
            case "cut":
                return self._cut(led, when)
            case "transfer":
                return f"{led}; at {when}, {note}."
            case "no_quorum":
                return self._no_quorum(led, when)
            case "silence":
                return self._silence(led, when)
            case _:
                if note.startswith("it "):
                    return f"{led} until {when}, when {note}."
                return f"{led}; at {when}, {note}."

    def _no_quorum(self, led: str, when: str) -> str:
        why = self._lost_majority()
        if self._stepped_down_us() is not None:
            return f"{led}, but without a majority from {when} on{why}."
        return f"{led} until {when}, when it had lost its majority{why}."

    def _killed(self, led: str, when: str) -> str:
        election = self._election
        end = lost_end_of(self._course, election.old_leader or 0, election.cause_us)
        if end is None or end.recorded_us == end.end_us:
            return f"{led} until {when}, when its last record was written. Its trace shows no stop: {KILLED}."
        last = f"{led} until {when}, when its last message reached another node"
        return f"{last}. Its trace shows no stop: {KILLED}."

    def _after_cause(self) -> Iterator[str]:
        """What became of the old leader."""
        election = self._election
        if election.old_leader is None:
            yield from self._first_entries()
            return
        if election.cause_note == SILENT_NOTE:
            end = lost_end_of(self._course, election.old_leader, election.cause_us)
            yield from () if end is None else lost_end_sentences(end)
        stepped_down_us = self._stepped_down_us()
        if stepped_down_us is not None:
            later = duration_text(stepped_down_us - election.cause_us)
            yield (
                f"It stepped down at {self._moment(stepped_down_us)}, {later} later: too few voters had answered it."
            )

    def _stepped_down_us(self) -> int | None:
        """When the old leader stopped to lead without a majority, if it did so later than it lost its majority."""
        election = self._election
        if election.cause != "no_quorum":
            return None
        for row in self._course.tables.leaderships:
            is_old = (row.node, row.term) == (election.old_leader, election.old_term)
            if is_old and election.cause_us < row.end_us <= election.start_us:
                return row.end_us
        return None

    def _first_entries(self) -> Iterator[str]:
        """The entries with which a cluster of real nodes begins."""
        election = self._election
        candidate = election.rounds[0].candidate
        track = self._course.tracks[candidate]
        runs = [
            change
            for change in track.log
            if change.phase == "append" and change.t_us == election.cause_us
        ]
        config = next((each for each in track.configs if each.t_us == election.cause_us), None)
        if not runs or config is None or election.cause_note == "":
            return
        number = runs[-1].last - runs[0].first + 1
        entries = "entry" if number == 1 else f"{number} entries"
        yield (
            f"Its first {entries} of term {runs[0].term} came from no leader: a cluster begins with them. They hold "
            f"the configuration, in which {nodes_text(config.voters)} vote."
        )

    def _simulated_entries(self) -> Iterator[str]:
        """The entries with which all nodes of a simulated cluster begin."""
        election, course = self._election, self._course
        if election.old_leader is not None or not course.is_simulated:
            return
        candidate = election.rounds[0].candidate
        first = next(iter(course.tracks[candidate].log), None)
        if first is None or first.phase != "append" or (first.t_us, first.first) != (0, 1):
            return
        them = "it" if first.last == 1 else "them"
        yield (
            f"Its log already held {counted(first.last, 'entry', 'entries')} of term {first.term} that came from no "
            f"leader: all nodes of a simulated cluster begin with {them}."
        )

    def _cut(self, led: str, when: str) -> str:
        election = self._election
        fault = f"the fault \u201c{election.cause_note}\u201d"
        if election.cause_us < self._led_from():
            return f"{led}; the fault \u201c{election.cause_note}\u201d had cut {self._cut_off()} off since {when}."
        if self._is_leaderless_from(election.cause_us):
            return f"{led} until {when}, when {fault} cut it off from a majority of the voters."
        return f"{led}; at {when}, {fault} cut {self._cut_off()} off from it."

    def _cut_off(self) -> str:
        election = self._election
        return nodes_text({round_.candidate for round_ in election.rounds} - {election.old_leader})

    def _led_from(self) -> int:
        """When the old leader was elected."""
        return min(
            (
                leadership.start_us
                for leadership in self._course.tables.leaderships
                if (leadership.node, leadership.term)
                == (self._election.old_leader, self._election.old_term)
            ),
            default=0,
        )

    def _lost_majority(self) -> str:
        note = self._election.cause_note
        if not note:
            return (
                ": too few voters had answered it for an election timeout, or its disk had stalled"
            )
        if " down" in note:
            return f": {note}"
        return f" or its disk had stalled (the fault \u201c{note}\u201d)"

    def _silence(self, led: str, when: str) -> str:
        election = self._election
        candidate = election.rounds[0].candidate
        if "had just started" in election.cause_note:
            return f"{led}; node {candidate} started at {when} and heard nothing from it."
        why = f": {election.cause_note}" if election.cause_note else ""
        return f"{led}; node {candidate} heard nothing from it after {when}{why}."

    def _detection(self) -> Iterator[str]:
        election = self._election
        first = election.rounds[0]
        when = self._moment(election.start_us)
        if election.cause == "transfer" or election.cause_note.startswith("the scenario"):
            return
        if election.old_leader is None and election.start_us - election.cause_us < _IMMEDIATE_US:
            yield "It campaigned immediately."
            return
        text = f"Node {first.candidate}'s election timeout passed first, at {when}"
        stepped_down_us = self._stepped_down_us()
        if stepped_down_us is not None and first.candidate == election.old_leader:
            yield f"{text}, {duration_text(election.start_us - stepped_down_us)} after it had stepped down."
            return
        contact = None
        if election.old_leader is not None and election.old_leader != first.candidate:
            contact = last_contact(
                self._course.messages, election.old_leader, first.candidate, election.start_us
            )
        if contact is not None:
            ago = duration_text(election.start_us - contact.received_us)
            text = f"{text}, {ago} after the last message from node {election.old_leader}"
        elif election.old_leader is None:
            text = f"{text}, {duration_text(election.start_us - election.cause_us)} later"
        yield f"{text}."

    # -- how it ended -----------------------------------------------------------------------------

    def _ready(self) -> str:
        election = self._election
        if election.ready_us is None:
            return f"Node {election.winner} committed nothing in term {election.term}."
        took = duration_text(election.ready_us - election.end_us)
        begin = f"Node {election.winner} led from {self._moment(election.end_us)}"
        return f"{begin} and committed its first entry {took} later."

    def _parts(self) -> Iterator[str]:
        """Where the time went, from the cause to the first commit."""
        election = self._election
        last_pre_vote, vote = None, None
        for round_ in election.rounds:
            if round_.candidate == election.winner and round_.result == "won":
                if round_.kind == "vote" and round_.term == election.term:
                    vote = round_
                elif round_.kind == "pre_vote" and round_.term == election.term - 1:
                    last_pre_vote = round_
        if vote is None:
            return
        winning_us = vote.start_us if last_pre_vote is None else last_pre_vote.start_us
        waited = "the request to take over" if election.cause == "transfer" else "election timeout"
        yield from self._phases(
            (waited, election.start_us),
            ("rounds without a majority", winning_us),
            ("pre-votes", vote.start_us),
            ("votes", vote.end_us),
            (_FIRST_COMMIT, election.ready_us if election.ready_us is not None else vote.end_us),
        )

    def _phases(self, *ends: tuple[str, int]) -> Iterator[str]:
        """How long each part took, and which was the longest."""
        names, times = [], [min(self._election.cause_us, self._election.start_us)]
        for name, end_us in ends:
            if end_us > times[-1]:
                names.append(name)
                times.append(end_us)
        if names:
            until = "until its first commit" if names[-1] == _FIRST_COMMIT else ""
            yield whole_and_parts(names, times, until)
            yield self._longest(names, times)

    def _open(self) -> Iterator[str]:
        """How it was when the trace ended."""
        election, course = self._election, self._course
        stepped_down_us = self._stepped_down_us()
        steps = [(_STILL_LED, stepped_down_us)] if stepped_down_us else []
        yield from self._phases(
            *steps,
            ("election timeout", election.start_us),
            ("rounds without a majority", election.end_us),
        )
        voters = course.tables.voters
        down = [
            voter
            for voter in voters
            if voter in course.tracks
            and node_at(course, voter, election.start_us).role == "down"
            and course.tracks[voter].roles[-1].role == "down"
        ]
        if down and 2 * (len(voters) - len(down)) <= len(voters):
            since = joined(map(self._down_since, down))
            yield (
                f"Until the end, {since}: no majority could answer, so no election was possible."
            )
        when = self._moment(election.end_us)
        last = course.records[-1]
        if last.kind == "down" and last.fields["why"] != PAUSE:
            yield (
                f"Node {last.node} {_STOPPED.get(last.fields['why'], 'stopped')} at {when}, where the trace ends: no "
                "leader had been elected."
            )
        else:
            yield f"The trace ends at {when}, before a leader is elected."

    def _down_since(self, node: int) -> str:
        span = self._course.tracks[node].roles[-1]
        return f"node {node} was down (since {self._moment(span.start_us)}: {down_text(span.why)})"

    def _longest(self, names: list[str], times: list[int]) -> str:
        election = self._election
        lengths = [times[place + 1] - times[place] for place in range(len(names))]
        place = max(range(len(names)), key=lengths.__getitem__)
        share = share_text(lengths[place], times[-1] - times[0])
        match names[place]:
            case "election timeout":
                what = "the election timeout: a node campaigns only after it has heard from no leader for so long"
            case "rounds without a majority":
                obstacle = main_obstacle(election.rounds)
                split = {round_.term for round_ in election.rounds if round_.result == "split"}
                if obstacle == SPLIT:
                    terms = "term" if len(split) == 1 else "terms"
                    obstacle = f"{obstacle} in {terms} {joined(sorted(split))}"
                what = f"rounds without a majority{f': {obstacle}' if obstacle else ''}"
            case "the request to take over":
                what = "the request to take over: it was on its way, or its target was busy"
            case name if name == _STILL_LED:
                what = (
                    f"the time in which node {election.old_leader} led without a majority: a leader steps down only "
                    "when too few voters have answered it for an election timeout"
                )
            case "pre-votes":
                what = "the pre-votes: answers of a majority had to arrive"
            case "votes":
                what = "the votes: they had to be durable, and those of a majority had to arrive"
            case _:
                what = "the first commit: a majority had to store the new leader's first entry"
        return f"{share} of this was {what}."

    def _abandoned(self) -> Iterator[str]:
        election = self._election
        when = self._moment(election.end_us)
        if self._is_leaderless_from(election.end_us):
            yield f"It ended at {when}, when the cluster lost its leader: see the next election."
            return
        last = election.rounds[-1]
        leader = node_at(self._course, last.candidate, election.end_us).leader
        why = ""
        if election.cause == "transfer" and last.kind == "pre_vote" and last.result == "lost":
            why = f", when node {last.candidate} rejected the transfer"
        elif leader:
            before = last_contact(self._course.messages, leader, last.candidate, election.start_us)
            again = "" if before is None else " again"
            why = f", when node {last.candidate} heard from leader {leader}{again}"
        yield f"It ended at {when}{why}."
        if all(round_.kind == "pre_vote" for round_ in election.rounds):
            yield f"Node {election.old_leader} continued to lead term {election.old_term}: pre-votes change no term."
            if self._course.is_simulated:
                yield "A scenario's expectations count only elections with a winner."
        else:
            yield f"Node {election.old_leader} continued to lead term {election.old_term}."

    def _is_leaderless_from(self, t_us: int) -> bool:
        starts = [span.start_us for span in self._course.tables.leaderless]
        place = bisect_left(starts, t_us)
        return place < len(starts) and starts[place] == t_us

    def _moment(self, t_us: int) -> str:
        return moment_text(t_us, self._course.begin_us)
