"""A single core: put it into a state, give it an event, examine the effects."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from qcore.core import DurableState, Entry, HardState, Membership, RaftConfig, RaftCore
from qcore.core.effects import Effect, Send
from qcore.core.events import Campaign, MessageReceived, WriteDurable
from qcore.core.messages import (
    AppendEntries,
    PreVoteResponse,
    RaftMessage,
    RequestVoteResponse,
)
from tests.driver.first_state import started

#: Long after every promise of a restarted server, µs.
LATER = 10_000_000

THREE = Membership(voters=(1, 2, 3))

T = TypeVar("T")


def restored(
    terms: Sequence[int] = (1,),
    *,
    term: int = 0,
    vote: int | None = None,
    commit: int = 0,
    config: RaftConfig | None = None,
    membership: Membership = THREE,
) -> RaftCore:
    """Server 1 of three with a log of these terms, started long ago."""
    state = started(membership, terms, term)
    state.hard_state = HardState(state.hard_state.term, vote, commit)
    core = RaftCore(config or RaftConfig(node_id=1), state, rng=random.Random(3), now=0)
    core.initial_effects()
    return core


def entries(first: int, *terms: int) -> list[Entry]:
    """Commands of these terms, at consecutive indexes from `first`."""
    return [Entry(index, term, "command", "", 0) for index, term in enumerate(terms, start=first)]


def pristine() -> RaftCore:
    core = RaftCore(RaftConfig(node_id=1), DurableState(), rng=random.Random(3), now=0)
    core.initial_effects()
    return core


def receive(core: RaftCore, source: int, message: RaftMessage, now: int = LATER) -> list[Effect]:
    return core.step(MessageReceived(source, message), now)


def make_durable(core: RaftCore, effects: list[Effect]) -> list[Effect]:
    """Report the last write among the effects as durable."""
    ids: list[int] = [getattr(effect, "write_id", 0) for effect in effects]
    return core.step(WriteDurable(max(ids, default=0)), LATER)


def sent_messages(effects: list[Effect], kind: type[T]) -> list[T]:
    """The messages of this kind among the effects."""
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def only(effects: list[Effect], kind: type[T]) -> T:
    """The only effect of this kind."""
    (found,) = [effect for effect in effects if isinstance(effect, kind)]
    return found


def follow(core: RaftCore, leader: int, term: int, now: int = LATER) -> None:
    """Deliver a heartbeat of the leader of `term`."""
    receive(core, leader, AppendEntries(term, leader, 0, 0, 0, []), now)


def become(core: RaftCore, role: str) -> RaftCore:
    """Bring server 1 of three into this role, in a term above its current one."""
    if role in ("follower", "learner"):
        return core
    core.step(Campaign(), LATER)
    if role == "pre_candidate":
        return core
    effects = receive(core, 2, PreVoteResponse(core.term, core.term + 1, True))
    make_durable(core, effects)
    if role == "leader":
        receive(core, 2, RequestVoteResponse(core.term, True))
    assert core.role == role
    return core
