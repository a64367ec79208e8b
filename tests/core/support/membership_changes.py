"""Membership changes of every kind, chosen by a number, for the state machine tests."""

from __future__ import annotations

from typing import Literal, get_args

from qcore.core import Membership

ChangeKind = Literal["add_learner", "promote", "demote", "remove", "replace", "several"]
KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


def changed(
    current: Membership, everyone: tuple[int, ...], kind: ChangeKind, pick: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The voters and learners after a change of this kind to the effective configuration.

    If no node fits the kind, everything stays as it is, which is a change, too.

    Args:
        current: the effective configuration.
        everyone: all servers, members or not.
        kind: `several` makes any servers voters and learners.
        pick: chooses the servers.
    """
    voters, learners = [*current.voters], [*current.learners]
    spare = [node_id for node_id in everyone if node_id not in current.members()]
    match kind:
        case "add_learner" if spare:
            learners.append(spare[pick % len(spare)])
        case "promote" if learners:
            voters.append(learners.pop(pick % len(learners)))
        case "demote" if len(voters) > 1:
            learners.append(voters.pop(pick % len(voters)))
        case "remove" if len(voters) > 1:
            voters.pop(pick % len(voters))
        case "replace" if spare and voters:
            voters[pick % len(voters)] = spare[pick % len(spare)]
        case "several":
            roles = [(node_id, pick // 3**place % 3) for place, node_id in enumerate(everyone)]
            voters = [node_id for node_id, role in roles if role == 0] or [everyone[0]]
            learners = [n for n, role in roles if role == 1 and n not in voters]
        case _:
            pass
    return tuple(sorted(voters)), tuple(sorted(learners))
