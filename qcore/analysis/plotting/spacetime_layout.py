"""The layout of a space-time diagram (Lamport 1978): a lane for each node, an arrow for each message, marks for events.

It draws nothing, so that a page and a picture can share it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from qcore.analysis.course.course_types import Course, MessageOutcome, Messages
from qcore.analysis.plotting.time_window import Window, WindowChoice, window_of
from qcore.analysis.spans import RoleSpan

ArrowClass = Literal["vote request", "vote response", "append", "response", "snapshot", "other"]
MarkKind = Literal["vote", "granted", "rejected", "commit", "role"]

#: The classes of arrows. If there are too many messages, those of the first classes are kept.
ARROW_CLASSES: Final[tuple[ArrowClass, ...]] = (
    "vote request",
    "vote response",
    "snapshot",
    "append",
    "response",
    "other",
)
_BY_NAME: Final[dict[str, ArrowClass]] = {
    "PreVote": "vote request",
    "RequestVote": "vote request",
    "TimeoutNow": "vote request",
    "PreVoteResponse": "vote response",
    "RequestVoteResponse": "vote response",
    "TimeoutNowResponse": "vote response",
    "AppendEntries": "append",
    "AppendEntriesResponse": "response",
    "InstallSnapshot": "snapshot",
    "InstallSnapshotResponse": "snapshot",
}
_GRANTS: Final = ("granted", "accepted")
#: A window that is not chosen is the longest election after the first, but at most this long.
_LONGEST_DEFAULT_US: Final = 1_000_000


@dataclass(slots=True, frozen=True)
class Lane:
    """A node, and its roles within the window."""

    node: int
    spans: tuple[RoleSpan, ...]


@dataclass(slots=True, frozen=True)
class Arrow:
    """A message.

    Attributes:
        message: its number in the course.
        end_us: when it was received or lost; the end of the window while it is in flight.
        kind: the class that it is drawn as.
    """

    message: int
    sent_us: int
    end_us: int
    source: int
    target: int
    kind: ArrowClass
    outcome: MessageOutcome
    name: str


@dataclass(slots=True, frozen=True)
class Mark:
    """An event on a lane. `granted` and `rejected` are responses that a candidate received."""

    t_us: int
    node: int
    kind: MarkKind
    text: str


@dataclass(slots=True, frozen=True)
class SpacetimeLayout:
    """What a space-time diagram of a window shows.

    Attributes:
        lanes: from the first to the last.
        omitted: how many messages of the window are left out, because there are too many.
    """

    window: Window
    lanes: tuple[Lane, ...]
    arrows: tuple[Arrow, ...]
    marks: tuple[Mark, ...]
    omitted: int


def class_of_arrow(message: str) -> ArrowClass:
    """The class of a message, by its name."""
    return _BY_NAME.get(message, "other")


def default_window(course: Course) -> Window:
    """The longest election after the first one that a node won, or the first second of the cluster."""
    won = [election for election in course.elections if election.outcome == "elected"]
    later = won[1:] or won
    if later:
        longest = max(later, key=lambda election: election.duration_us)
        window = window_of(course, f"election:{longest.number}")
        if window.length_us <= _LONGEST_DEFAULT_US:
            return window
        # Its end shows who asked, who voted, and who won.
        return Window(window.end_us - _LONGEST_DEFAULT_US, window.end_us)
    whole = window_of(course)
    return Window(whole.start_us, min(whole.end_us, whole.start_us + _LONGEST_DEFAULT_US))


def spacetime_layout(
    course: Course,
    window: WindowChoice = None,
    *,
    kinds: Collection[ArrowClass] | None = None,
    most: int = 400,
    keep: Collection[int] = (),
) -> SpacetimeLayout:
    """Lay out the space-time diagram of a window.

    Args:
        course: the course of the run.
        window: the stretch to show, as in `window_of`; by default the longest election after the first.
        kinds: the classes of messages to show; None means all.
        most: the most messages to show. Of more, requests for votes and responses to them come first, then lost
            messages, snapshots and appends.
        keep: the numbers of messages to show in any case.

    Raises:
        ConfigError: the window is not in the run.
    """
    shown = default_window(course) if window is None else window_of(course, window)
    messages = course.messages
    kept = [
        number
        for number in messages.between(shown.start_us, shown.end_us)
        if shown.overlaps(
            min(messages.sent_us[number], messages.end_us[number]),
            max(messages.sent_us[number], messages.end_us[number]),
        )
        and (kinds is None or class_of_arrow(messages.name[number]) in kinds)
    ]
    wanted = frozenset(keep)
    chosen = sorted(kept, key=lambda number: _rank(messages, number, number in wanted))[:most]
    return SpacetimeLayout(
        shown,
        tuple(
            Lane(
                node,
                tuple(
                    span
                    for span in course.tracks[node].roles
                    if shown.overlaps(span.start_us, span.end_us)
                ),
            )
            for node in course.nodes
        ),
        tuple(_arrow(messages, number, shown) for number in sorted(chosen)),
        tuple(sorted(_marks(course, shown, chosen), key=lambda mark: (mark.t_us, mark.node))),
        len(kept) - len(chosen),
    )


def _rank(messages: Messages, number: int, is_wanted: bool) -> tuple[bool, bool, int]:
    """The order in which messages are kept: responses to appends and forwarded requests go last."""
    place = ARROW_CLASSES.index(class_of_arrow(messages.name[number]))
    is_lost = messages.outcome[number] == 1
    return (not is_wanted, not (place < 2 or is_lost), place)


def _arrow(messages: Messages, number: int, shown: Window) -> Arrow:
    message = messages[number]
    in_flight = message.outcome == "in_flight"
    return Arrow(
        number,
        message.sent_us,
        min(message.end_us, shown.end_us) if in_flight else message.end_us,
        message.source,
        message.target,
        class_of_arrow(message.name),
        message.outcome,
        message.name,
    )


def _marks(course: Course, shown: Window, chosen: Collection[int]) -> list[Mark]:
    marks: list[Mark] = []
    for node in course.nodes:
        track = course.tracks[node]
        marks += [
            Mark(vote.t_us, node, "vote", f"votes for {vote.candidate}")
            for vote in track.votes
            if shown.holds(vote.t_us)
        ]
        marks += [
            Mark(span.start_us, node, "role", _role_text(span))
            for span in track.roles
            if shown.start_us < span.start_us <= shown.end_us
            and span.role not in ("follower", "learner")
        ]
        marks += [
            Mark(t_us, node, "commit", f"commit {index}")
            for t_us, index in zip(track.commit.times, track.commit.values, strict=True)
            if shown.holds(t_us)
        ]
    messages = course.messages
    for number in chosen:
        if (
            class_of_arrow(messages.name[number]) == "vote response"
            and not messages.outcome[number]
        ):
            kind: MarkKind = "granted" if messages.note[number] in _GRANTS else "rejected"
            if shown.holds(messages.end_us[number]):
                marks.append(Mark(messages.end_us[number], messages.target[number], kind, kind))
    return marks


def _role_text(span: RoleSpan) -> str:
    if span.role == "down":
        return "down"
    name = {"pre_candidate": "pre-candidate"}.get(span.role, span.role)
    return f"{name}, term {span.term}"
