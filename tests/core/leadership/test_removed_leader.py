"""A leader that leaves the cluster asks the best voter to campaign, if one may lead."""

from __future__ import annotations

import random

import pytest

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import AppendLog, Effect, MessageDropped, Send
from qcore.core.events import Campaign, ChangeMembership, MessageReceived, WriteDurable
from qcore.core.messages import AppendEntriesResponse, TimeoutNow

NOW = 10_000_000


def responded(core: RaftCore, index: int, priority: int) -> list[Effect]:
    """The learner, soon the only voter, holds the log up to `index`."""
    response = AppendEntriesResponse(core.term, True, index, index - 1, 0, 0, 0, priority)
    return core.step(MessageReceived(2, response), NOW)


def durable(core: RaftCore, effects: list[Effect]) -> list[Effect]:
    written = max(effect.write_id for effect in effects if isinstance(effect, AppendLog))
    return core.step(WriteDurable(written), NOW)


@pytest.mark.parametrize(("priority", "asked"), [(1, 1), (0, 0)])
def test_removed_leader_asks_only_a_voter_that_may_lead(priority: int, asked: int) -> None:
    """The voter restarted with priority 0 after the change had begun."""
    first = Membership(voters=(1,), learners=(2,))
    state = DurableState(HardState(1), None, [Entry(1, 1, "membership", first.to_json(), 0)])
    core = RaftCore(RaftConfig(node_id=1), state, rng=random.Random(3), now=0)
    core.initial_effects()
    effects = core.step(Campaign(), NOW)
    written = max(getattr(effect, "write_id", 0) for effect in effects)
    effects = core.step(WriteDurable(written), NOW)
    durable(core, effects)
    responded(core, core.last_log_index, priority=1)
    effects = core.step(ChangeMembership((2,), (), ((2, "b:1"),), 0), NOW)
    sent: list[Effect] = []
    while core.role == "leader":
        effects = durable(core, effects)
        effects += responded(core, core.last_log_index, priority)
        sent += effects
    requests = [
        each for each in sent if isinstance(each, Send) and isinstance(each.message, TimeoutNow)
    ]
    assert len(requests) == asked
    assert core.membership.voters == (2,)


@pytest.mark.parametrize(("sender", "stays"), [(2, False), (3, True)])
def test_only_a_member_deposes_a_leader_by_its_response(sender: int, stays: bool) -> None:
    """Server 3 was removed, and its late response has a newer term: it had campaigned without end."""
    first = Membership(voters=(1,), learners=(2,))
    state = DurableState(HardState(1), None, [Entry(1, 1, "membership", first.to_json(), 0)])
    core = RaftCore(RaftConfig(node_id=1), state, rng=random.Random(3), now=0)
    core.initial_effects()
    effects = core.step(Campaign(), NOW)
    core.step(WriteDurable(max(getattr(effect, "write_id", 0) for effect in effects)), NOW)
    assert core.role == "leader"
    term = core.term
    effects = core.step(
        MessageReceived(sender, AppendEntriesResponse(term + 7, False, 0, 0, 0, 0)), NOW
    )
    assert (core.role == "leader", core.term == term) == (stays, stays)
    dropped = [each for each in effects if isinstance(each, MessageDropped)]
    assert [each.reason for each in dropped] == [
        "a newer term of a server that is not a member"
    ] * stays
