"""When the nodes of a course appended, stored, committed and applied an entry."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from qcore.analysis.course.course_types import LogChange, NodeTrack


class EntryTimes:
    """Finds the times of entries.

    Args:
        tracks: the tracks of the nodes.
        voters: the voters, where no track shows a configuration.
    """

    def __init__(self, tracks: Mapping[int, NodeTrack], voters: Sequence[int]) -> None:
        self._tracks = tracks
        self._voters = tuple(voters)
        self._appends: dict[int, dict[int, list[LogChange]]] = {}
        self._at: dict[tuple[int, int], list[LogChange]] = {}
        for node, track in tracks.items():
            by_index = self._appends[node] = {}
            for change in track.log:
                if change.phase == "append":
                    self._at.setdefault((node, change.t_us), []).append(change)
                    for index in range(change.first, change.last + 1):
                        by_index.setdefault(index, []).append(change)

    def appended_at(self, node: int, t_us: int) -> list[LogChange]:
        """What a node appended at a time."""
        return self._at.get((node, t_us), [])

    def appended(self, node: int, index: int, term: int, from_us: int) -> LogChange | None:
        """The first append from a time on with the entry; any term if `term` is 0."""
        for change in self._appends.get(node, {}).get(index, ()):
            if change.t_us >= from_us and term in (0, change.term):
                return change
        return None

    def durable(self, node: int, index: int, from_us: int) -> int | None:
        """When the entry was durable on a node; None if the trace does not say."""
        track = self._tracks[node]
        return track.durable.first_at_least(index, from_us) if track.durable.times else None

    def quorum(self, leader: int, index: int, term: int, from_us: int) -> int | None:
        """When the entry was durable on a majority of the voters; None if the trace does not say."""
        found: list[int] = []
        for voters in self._voters_at(leader, from_us):
            times = sorted(
                t_us
                for voter in voters
                if (t_us := self._stored(voter, index, term, from_us)) is not None
            )
            majority = len(voters) // 2 + 1
            if len(times) < majority:
                return None
            found.append(times[majority - 1])
        return max(found, default=None)

    def holds(self, node: int, index: int, appended: LogChange, t_us: int) -> bool:
        """Whether the log of a node still holds an entry at a time, or has compacted it."""
        log = self._tracks[node].log
        is_after = False
        for place in range(bisect_left(log, appended.t_us, key=_time), len(log)):
            change = log[place]
            if change.t_us > t_us:
                break
            if is_after and change.phase != "snapshot" and change.first <= index:
                return False
            is_after = is_after or change is appended
        return True

    def committed(self, node: int, index: int, from_us: int) -> int | None:
        """When the node knew that the entry was committed."""
        return self._tracks[node].commit.first_at_least(index, from_us)

    def applied(self, node: int, index: int, from_us: int) -> int | None:
        """When the node applied the entry."""
        return self._tracks[node].applied.first_at_least(index, from_us)

    def _stored(self, voter: int, index: int, term: int, from_us: int) -> int | None:
        if voter not in self._tracks:
            return None
        change = self.appended(voter, index, term, from_us)
        return None if change is None else self.durable(voter, index, change.t_us)

    def _voters_at(self, leader: int, t_us: int) -> list[tuple[int, ...]]:
        configs = self._tracks[leader].configs
        place = bisect_right(configs, t_us, key=lambda config: config.t_us)
        if not place:
            return [self._voters]
        config = configs[place - 1]
        return [voters for voters in (config.voters, config.voters_outgoing) if voters]


def _time(change: LogChange) -> int:
    return change.t_us
