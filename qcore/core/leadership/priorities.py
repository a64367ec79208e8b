"""The rule on priority 0: fewer than half of the voters may have it, so none if there are one or two voters.

A server of priority 0 never leads. If all voters have priority 0, the cluster never has a leader again. If half of
them do, one crash can leave a majority that works and cannot elect a leader.

Each server sets its own priority. It may change at any restart, and the leader learns it from responses only. So only
known priorities are checked (an unknown one counts as 1), and a server that finds the rule broken reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qcore.core.raft_server import RaftServer


def never_lead(server: RaftServer, voters: Iterable[int]) -> list[int]:
    """Those of the voters that are known to have priority 0, sorted. A leader knows the most."""
    found: list[int] = []
    for voter in sorted({*voters}):
        progress = server.progress.get(voter)
        own = voter == server.node_id and server.config.priority == 0
        if own or (progress is not None and progress.priority == 0):
            found.append(voter)
    return found


def too_many_zero_priorities(zeros: int, voters: int) -> bool:
    """Whether this number of voters of priority 0 is half of all voters or more."""
    return 2 * zeros >= voters > 0


def change_rejection(server: RaftServer, wanted: Sequence[int]) -> str | None:
    """Why the leader must not make `wanted` the voters, or None.

    While the rule is broken, a change that lowers the share of such voters is allowed: it may repair the cluster. A
    change that keeps the voters is always allowed.
    """
    voters = sorted({*wanted})
    current = server.membership.voters
    zeros = never_lead(server, voters)
    if tuple(voters) == current or not too_many_zero_priorities(len(zeros), len(voters)):
        return None
    if len(zeros) == len(voters):
        return (
            f"all of the voters {voters} have priority 0, and no node could ever lead again: keep a voter of "
            "another priority, or restart one of them with another --priority first"
        )
    before = never_lead(server, current)
    if len(zeros) * len(current) < len(before) * len(voters):
        return None
    return _fault(zeros, voters)


def effective_fault(server: RaftServer) -> str | None:
    """Why the effective voters break the rule by their known priorities, or None. Both sets of a joint phase count.

    A server that does not lead knows only its own priority. That is enough for one or two voters.
    """
    membership = server.membership
    for voters in (membership.voters, membership.voters_outgoing):
        zeros = never_lead(server, voters)
        if too_many_zero_priorities(len(zeros), len(voters)):
            return _fault(zeros, sorted(voters))
    return None


def _fault(zeros: list[int], voters: list[int]) -> str:
    if zeros == voters:
        return (
            f"all of the voters {voters} have priority 0, and no node may lead: restart one of them with another "
            "--priority"
        )
    return (
        f"{zeros} of the voters {voters} have priority 0 and never lead; they must be fewer than half, or one crash "
        "can leave no node that may lead: restart some of them with another --priority, or choose other voters"
    )
