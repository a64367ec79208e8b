"""An acknowledgement that comes after the commit waits for the next event; all others are passed on immediately."""

from __future__ import annotations

import random

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import Effect
from qcore.core.events import Campaign, MessageReceived, Propose, ReadRequested, WriteDurable
from qcore.core.messages import AppendEntriesResponse, PreVoteResponse, RequestVoteResponse
from qcore.node.runtime.late_acknowledgements import LateAcknowledgements

NOW = 10_000_000


def durable(core: RaftCore, effects: list[Effect]) -> list[Effect]:
    written = max(getattr(effect, "write_id", 0) for effect in effects)
    return core.step(WriteDurable(written), NOW)


def acknowledgement(
    core: RaftCore, sender: int, index: int, *, success: bool = True
) -> MessageReceived:
    response = AppendEntriesResponse(core.term, success, index, index - 1, 0, 0, 0, 1)
    return MessageReceived(sender, response)


def leader(learners: tuple[int, ...] = ()) -> RaftCore:
    """A leader of three voters whose first entry is committed, acknowledged by both followers."""
    members = Membership(voters=(1, 2, 3), learners=learners)
    state = DurableState(HardState(1), None, [Entry(1, 1, "membership", members.to_json(), 0)])
    core = RaftCore(RaftConfig(node_id=1), state, rng=random.Random(3), now=0)
    core.initial_effects()
    core.step(Campaign(), NOW)
    effects = core.step(MessageReceived(2, PreVoteResponse(core.term, core.term + 1, True)), NOW)
    effects = durable(core, effects)
    effects += core.step(MessageReceived(2, RequestVoteResponse(core.term, True)), NOW)
    assert core.role == "leader"
    durable(core, effects)
    for sender in (2, 3):
        core.step(acknowledgement(core, sender, core.last_log_index), NOW)
    assert core.is_settled
    return core


def write(core: RaftCore) -> int:
    """Append an entry that is durable here. Returns its index."""
    durable(core, core.step(Propose(["x"], 1), NOW))
    return core.last_log_index


def test_an_acknowledgement_after_the_commit_may_wait() -> None:
    core = leader()
    late = LateAcknowledgements(core)
    index = write(core)
    first = acknowledgement(core, 2, index)
    assert not late.may_wait(first), "it commits the entry"
    core.step(first, NOW)
    second = acknowledgement(core, 3, index)
    assert late.may_wait(second)
    core.step(second, NOW)
    assert not late.may_wait(second), "a response to a heartbeat"


def test_what_may_have_an_effect_does_not_wait() -> None:
    core = leader()
    late = LateAcknowledgements(core)
    index = write(core)
    core.step(acknowledgement(core, 2, index), NOW)
    assert not late.may_wait(acknowledgement(core, 3, index - 1)), "more is to be sent"
    assert not late.may_wait(acknowledgement(core, 3, index, success=False))
    assert not late.may_wait(acknowledgement(core, 4, index)), "no member"
    core.step(ReadRequested(1), NOW)
    assert not late.may_wait(acknowledgement(core, 3, index)), "it may confirm the read"


def test_a_newer_entry_makes_it_wait_no_longer() -> None:
    core = leader()
    index = write(core)
    core.step(acknowledgement(core, 2, index), NOW)
    write(core)
    assert not LateAcknowledgements(core).may_wait(acknowledgement(core, 3, index))


def test_with_a_learner_nothing_waits() -> None:
    core = leader(learners=(4,))
    index = write(core)
    core.step(acknowledgement(core, 2, index), NOW)
    assert not LateAcknowledgements(core).may_wait(acknowledgement(core, 3, index))
