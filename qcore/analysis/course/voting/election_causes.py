"""Why elections began: what ended the leader's contact with a majority, or with the first candidate."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qcore.analysis.course.course_types import Cause, Messages, NodeTrack
from qcore.analysis.course.voting.leader_contacts import Contact, LeaderContacts
from qcore.analysis.course.voting.short_texts import counted, duration_text, joined, nodes_text
from qcore.analysis.course.voting.vote_answers import loss_text, role_before
from qcore.analysis.course.voting.vote_rounds import PlacedRound
from qcore.analysis.spans import PAUSE, SILENT, STOPPED, FaultWindow, RoleSpan, Span
from qcore.analysis.tables import TraceTables

#: If the first candidate never heard from the leader, the cause is searched for in this time before.
_LONGEST_SEARCH_US: Final = 3_000_000
#: The note of a cause if the trace of the leader shows no stop.
SILENT_NOTE: Final = "its trace ends"


@dataclass(slots=True, frozen=True)
class FoundCause:
    """The cause of an election: when it began, and what it was, such as the label of a fault."""

    cause: Cause
    t_us: int
    note: str


class ElectionCauses:
    """Finds the causes of the elections of a course.

    Args:
        tracks, messages, tables: the parts of the course.
        contacts: when nodes heard from leaders.
        actions: the times at which the timeline made a node campaign: (time, node).
        begin_us: when the cluster begins.
    """

    def __init__(
        self,
        tracks: Mapping[int, NodeTrack],
        messages: Messages,
        tables: TraceTables,
        contacts: LeaderContacts,
        actions: Sequence[tuple[int, int]],
    ) -> None:
        self._tracks = tracks
        self._messages = messages
        self._tables = tables
        self._contacts = contacts
        self._actions = actions
        self._leaderless_starts = [span.start_us for span in tables.leaderless]

    def find(self, first: PlacedRound, leader: int | None, start_us: int) -> FoundCause:
        """The cause of an election.

        Args:
            first: its first round.
            leader: the leader before it.
            start_us: when it began.
        """
        candidate = first.round.candidate
        if leader is None:
            return self._began(candidate, start_us)
        if first.is_transfer:
            return self._transfer(leader, candidate, start_us)
        if (start_us, candidate) in self._actions:
            return FoundCause("other", start_us, f"the scenario made node {candidate} campaign")
        contact = self._contacts.last(leader, candidate, start_us)
        since = contact.sent_us if contact is not None else start_us - _LONGEST_SEARCH_US
        found = None
        span = self._leaderless(since, start_us)
        if span is not None:
            found = self._lost_majority(leader, span.start_us)
        return (
            found
            or self._lost_candidate(leader, candidate, since, start_us)
            or self._silence(leader, candidate, contact, since, start_us)
        )

    def _began(self, candidate: int, start_us: int) -> FoundCause:
        """When the first candidate of the first election started, or became a voter after that."""
        track = self._tracks[candidate]
        starts = [
            span.start_us
            for span in track.roles
            if span.role not in ("down", "learner") and span.start_us <= start_us
        ]
        joined_us = [
            config.t_us
            for config in track.configs
            if candidate in config.voters and config.t_us <= start_us
        ]
        if joined_us and starts and joined_us[0] > starts[0]:
            return FoundCause("start", joined_us[0], "became a voter")
        return FoundCause("start", starts[0] if starts else start_us, "")

    def _transfer(self, leader: int, candidate: int, start_us: int) -> FoundCause:
        messages = self._messages
        newest = start_us
        for number in range(bisect_right(messages.sent_us, start_us) - 1, -1, -1):
            if messages.name[number] == "TimeoutNow" and messages.target[number] == candidate:
                newest = messages.sent_us[number]
                break
        asked_us = min(newest, start_us)
        note = f"node {leader} asked node {candidate} to take over"
        span = self._span_at(leader, asked_us)
        if span is not None and span.start_us == asked_us and span.role != "leader":
            note = f"node {leader} left the cluster and asked node {candidate} to take over"
        return FoundCause("transfer", asked_us, note)

    def _leaderless(self, since_us: int, start_us: int) -> Span | None:
        """The last time without a leader that began before an election, and not before `since_us`."""
        place = bisect_right(self._leaderless_starts, start_us)
        if not place:
            return None
        span = self._tables.leaderless[place - 1]
        return span if span.start_us >= since_us or span.end_us > start_us else None

    def _lost_majority(self, leader: int, t_us: int) -> FoundCause | None:
        """What happened when the leader lost its majority."""
        span = self._span_at(leader, t_us)
        if span is not None and span.role == "down" and span.start_us == t_us:
            return _of_stop(span)
        for window in self._tables.faults:
            if window.start_us == t_us and window.cuts and _touches(window, leader):
                return FoundCause("cut", t_us, window.label)
        stopped = [
            node
            for node in self._tables.voters
            if node != leader
            and (other := self._span_at(node, t_us)) is not None
            and other.role == "down"
        ]
        if any(self._started_at(node, t_us) for node in stopped):
            verb = "was" if len(stopped) == 1 else "were"
            return FoundCause("no_quorum", t_us, f"{nodes_text(stopped)} {verb} down")
        if span is not None and span.start_us == t_us and span.role != "leader":
            return self._stepped_down(leader, span)
        return None

    def _stepped_down(self, leader: int, span: RoleSpan) -> FoundCause:
        before = role_before(self._tracks[leader], span.start_us)
        if before is not None and span.term > before.term:
            return FoundCause(
                "other", span.start_us, f"it learned of term {span.term} and stepped down"
            )
        if span.role == "learner":
            return FoundCause("other", span.start_us, "it left the cluster")
        faults = [
            window.label
            for window in self._tables.faults
            if window.start_us <= span.start_us <= window.end_us
            and (leader in window.nodes or _touches(window, leader))
        ]
        return FoundCause("no_quorum", span.start_us, joined(faults) if faults else "")

    def _lost_candidate(
        self, leader: int, candidate: int, since_us: int, start_us: int
    ) -> FoundCause | None:
        """What separated the first candidate from a leader that still had a majority."""
        for span in reversed(self._tracks[candidate].roles):
            if span.role == "down" and since_us <= span.end_us <= start_us:
                if span.why == PAUSE:
                    note = f"node {candidate} was paused for {duration_text(span.end_us - span.start_us)}"
                    return FoundCause("pause", span.start_us, note)
                return FoundCause("silence", span.end_us, f"node {candidate} had just started")
        faults = self._tables.faults
        for window in reversed(faults):
            begins = since_us <= window.start_us <= start_us
            is_cut = window.cuts and (leader, candidate) in window.links
            if is_cut and (begins or window.covers(start_us)):
                return FoundCause("cut", window.start_us, window.label)
        for window in faults:
            if since_us <= window.start_us <= start_us and candidate in window.nodes:
                return FoundCause("other", window.start_us, window.label)
        return None

    def _silence(
        self, leader: int, candidate: int, contact: Contact | None, since_us: int, start_us: int
    ) -> FoundCause:
        begin_us = start_us if contact is None else contact.received_us
        silence = self._contacts.silence(leader, candidate, since_us, start_us)
        note = ""
        if silence.lost:
            what = counted(silence.lost, "message")
            note = (
                f"{what} of node {leader} to node {candidate} were lost ({loss_text(silence.why)})"
            )
            note = note if silence.lost > 1 else note.replace(" were ", " was ")
        elif silence.sent:
            what = counted(silence.sent, "message")
            verb = "was" if silence.sent == 1 else "were"
            note = f"{what} of node {leader} to node {candidate} {verb} still on the way"
        return FoundCause("silence", begin_us, note)

    def _span_at(self, node: int, t_us: int) -> RoleSpan | None:
        track = self._tracks.get(node)
        if track is None:
            return None
        place = bisect_right(track.roles, t_us, key=lambda span: span.start_us)
        return track.roles[place - 1] if place else None

    def _started_at(self, node: int, t_us: int) -> bool:
        span = self._span_at(node, t_us)
        return span is not None and span.start_us == t_us


def _of_stop(span: RoleSpan) -> FoundCause:
    if span.why == PAUSE:
        return FoundCause("pause", span.start_us, "")
    if span.why == STOPPED:
        return FoundCause("stopped", span.start_us, "")
    return FoundCause("crash", span.start_us, SILENT_NOTE if span.why == SILENT else span.why)


def _touches(window: FaultWindow, node: int) -> bool:
    return any(node in link for link in window.links)
