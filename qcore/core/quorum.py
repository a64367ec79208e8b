"""Majorities, simple and joint: the value or vote on which a set of voters agrees (dissertation 4.3).

While the configuration is joint, every decision needs a majority of the incoming and of the outgoing
voters. The functions take the voters' values by id and never cache an order: the quorum index of
a cached order goes stale when acknowledgements arrive out of order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from qcore.core.entry import Membership

VoteResult = Literal["won", "lost", "pending"]


def quorum_value(membership: Membership, values: dict[int, int]) -> int:
    """The highest value that a quorum has reached or exceeded.

    Used for the commit index (values: durable match indexes), for read rounds (values: rounds
    acknowledged) and for the time of the last quorum contact (values: times of the last responses).

    Args:
        membership: the configuration; must have voters.
        values: by voter id; a missing voter counts as 0.
    """
    agreed = _majority_value(membership.voters, values)
    if membership.voters_outgoing:
        agreed = min(agreed, _majority_value(membership.voters_outgoing, values))
    return agreed


def vote_result(membership: Membership, votes: Mapping[int, bool]) -> VoteResult:
    """Whether the votes received until now win, lose, or decide nothing yet."""
    results = [_majority_vote(membership.voters, votes)]
    if membership.voters_outgoing:
        results.append(_majority_vote(membership.voters_outgoing, votes))
    if "lost" in results:
        return "lost"
    return "won" if all(result == "won" for result in results) else "pending"


def _majority_value(voters: tuple[int, ...], values: dict[int, int]) -> int:
    if len(voters) == 3:  # the usual number, on a hot path: the value in the middle
        one, other = values.get(voters[0], 0), values.get(voters[1], 0)
        return max(min(one, other), min(max(one, other), values.get(voters[2], 0)))
    # Sorted ascending, position (n-1)//2 is the highest value that n//2 + 1 voters have.
    reached = [values.get(voter, 0) for voter in voters]
    reached.sort()
    return reached[(len(reached) - 1) // 2]


def _majority_vote(voters: tuple[int, ...], votes: Mapping[int, bool]) -> VoteResult:
    needed = len(voters) // 2 + 1
    granted = sum(1 for voter in voters if votes.get(voter) is True)
    refused = sum(1 for voter in voters if votes.get(voter) is False)
    if granted >= needed:
        return "won"
    return "lost" if len(voters) - refused < needed else "pending"
