"""The transfer backoff: which servers recently became leader and did not last. Transfers by priority avoid them.

A transfer by priority is useless if the new leader soon loses its leadership: the cluster pays two elections, and the
next leader would immediately try again. So every server remembers what it saw of each other member:

| what | seen by | counts as |
|---|---|---|
| it was asked to take over | the leader that asked | one failure, until the opposite is proved |
| it asks for votes because a leader asked it to | every voter | the same attempt |
| it led and soon lost its leadership | every server that followed it | three failures, and at least four in total |
| it led and soon handed leadership over | every server that followed it | the attempt stays a failure; a new wait |
| it led for long | every server that followed it | proof: everything is forgotten |

A server with failures is not asked by priority again before a wait has passed. The wait is `FIRST_BACKOFF` election
timeouts after one failure. It doubles with each further failure, up to `MAX_BACKOFF_US`. To prove itself a server must
lead for `PROOF_TIMEOUTS` election timeouts, and for as long as its current wait. "Election timeout" is the longest one
here.

The memory is volatile, and it may differ between servers: it decides only when a leader tries, never which server may
win. A transfer that an operator requests does not consult it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from qcore.compiled_build import register_copies

#: Election timeouts to wait after the first failure.
FIRST_BACKOFF: Final = 10
#: No wait is longer than this, µs.
MAX_BACKOFF_US: Final = 600_000_000
#: A server that led for this many election timeouts has proved itself.
PROOF_TIMEOUTS: Final = 100
#: How many failures a lost leadership adds, and the least total after it.
FAILURES_OF_LOST_TERM: Final = 3
MIN_FAILURES_OF_LOST_TERM: Final = 4
#: Two signs of an attempt within this many election timeouts belong to the same attempt.
_SAME_ATTEMPT: Final = 2


@dataclass
class _Failures:
    """The failures of one server: their number, when the newest was seen, and until when to wait (µs)."""

    count: int
    seen_at: int
    retry_at: int


@dataclass
class _Tenure:
    """A leader that this server follows: its term, since when, and when its last message arrived (µs)."""

    leader_id: int
    term: int
    since: int
    heard_at: int


class TransferBackoff:
    """One server's memory of the attempts of others to lead.

    Args:
        election_timeout_us: the longest election timeout.
    """

    __slots__ = ("_failures", "_tenure", "_unit_us")

    def __init__(self, election_timeout_us: int) -> None:
        self._unit_us = election_timeout_us
        self._failures: dict[int, _Failures] = {}
        self._tenure: _Tenure | None = None

    def allows_transfer_to(self, target: int, now: int) -> bool:
        """Whether a leader may ask `target` to take over because of its priority."""
        failures = self._failures.get(target)
        return failures is None or now >= failures.retry_at

    def on_attempt(self, target: int, now: int) -> None:
        """The target was asked to take over, or asks for votes because it was."""
        failures = self._failures.get(target)
        if failures is None:
            failures = self._failures[target] = _Failures(0, now, now)
        elif now - failures.seen_at < _SAME_ATTEMPT * self._unit_us:
            return
        self._fail(failures, failures.count + 1, now)

    def on_leader(self, leader_id: int, term: int, now: int) -> None:
        """This server learns which server leads in a term."""
        tenure = self._tenure
        if tenure is None or (tenure.leader_id, tenure.term) != (leader_id, term):
            self._tenure = _Tenure(leader_id, term, now, now)

    def on_leader_message(self, now: int) -> None:
        """A message of the leader arrived, after `on_leader`."""
        tenure = self._tenure
        assert tenure is not None, "a message of an unknown leader"
        tenure.heard_at = now
        if self._failures and now - tenure.since >= self._proof_us(tenure.leader_id):
            self._failures.pop(tenure.leader_id, None)

    def on_term_ended(self, now: int, *, by_transfer: bool) -> None:
        """The term of the last known leader is over.

        Args:
            now: µs.
            by_transfer: the leader itself asked another server to take over.
        """
        tenure, self._tenure = self._tenure, None
        if tenure is None or tenure.heard_at - tenure.since >= self._proof_us(tenure.leader_id):
            return
        failures = self._failures.get(tenure.leader_id)
        if by_transfer:
            if failures is not None:
                self._fail(failures, failures.count, now)
            return
        if failures is None:
            failures = self._failures[tenure.leader_id] = _Failures(0, now, now)
        self._fail(
            failures, max(failures.count + FAILURES_OF_LOST_TERM, MIN_FAILURES_OF_LOST_TERM), now
        )

    def retain(self, members: Collection[int]) -> None:
        """Forget servers that are not members, so that the memory is no larger than the configuration."""
        for server_id in [known for known in self._failures if known not in members]:
            del self._failures[server_id]

    def _fail(self, failures: _Failures, count: int, now: int) -> None:
        failures.count = count
        failures.seen_at = now
        failures.retry_at = now + self._wait_us(count)

    def _wait_us(self, count: int) -> int:
        # The shift is bounded: beyond it the maximum applies anyway.
        return min(MAX_BACKOFF_US, FIRST_BACKOFF * self._unit_us << min(count - 1, 40))

    def _proof_us(self, leader_id: int) -> int:
        """How long a server must lead to be trusted again, µs."""
        failures = self._failures.get(leader_id)
        wait_us = 0 if failures is None else self._wait_us(failures.count)
        return max(PROOF_TIMEOUTS * self._unit_us, wait_us)


register_copies(globals())
