"""A snapshot's checksum is computed chunk by chunk and detects damage."""

from __future__ import annotations

import random
from dataclasses import replace
from zlib import crc32

import pytest

from qcore.core.config import RaftConfig
from qcore.core.effects import MessageDropped, RestoreMachine, Send, StoreSnapshot
from qcore.core.entry import DurableState, Entry, HardState, Membership
from qcore.core.events import MessageReceived
from qcore.core.messages import InstallSnapshot, InstallSnapshotResponse
from qcore.core.raft import RaftCore

THREE = Membership(voters=(1, 2, 3))
TEXT = "état\n" * 40


def follower() -> RaftCore:
    first = Entry(1, 1, "membership", THREE.to_json(), 0)
    durable = DurableState(HardState(1, None, 1), None, [first])
    return RaftCore(RaftConfig(2), durable, rng=random.Random(1), now=0)


def chunks(text: str = TEXT, size: int = 30) -> list[InstallSnapshot]:
    return [
        InstallSnapshot(
            term=2,
            leader_id=1,
            last_included_index=9,
            last_included_term=2,
            last_included_time_us=5,
            membership=THREE,
            offset=offset,
            total=len(text),
            checksum=crc32(text.encode()),
            data=text[offset : offset + size],
            round=0,
        )
        for offset in range(0, len(text), size)
    ]


def test_complete_snapshot_is_installed_with_its_checksum() -> None:
    core = follower()
    effects = [
        effect for chunk in chunks() for effect in core.step(MessageReceived(1, chunk), 1000)
    ]
    (stored,) = [effect for effect in effects if isinstance(effect, StoreSnapshot)]
    assert stored.snapshot.data == TEXT
    assert stored.snapshot.checksum == crc32(TEXT.encode())
    assert any(isinstance(effect, RestoreMachine) for effect in effects)


@pytest.mark.parametrize("damaged", [0, 3, -1])
def test_damaged_chunk_restarts_the_transfer(damaged: int) -> None:
    core = follower()
    messages = chunks()
    data = messages[damaged].data
    messages[damaged] = replace(messages[damaged], data=data[:-1] + "x")
    effects = [
        effect for chunk in messages for effect in core.step(MessageReceived(1, chunk), 1000)
    ]
    assert not any(isinstance(effect, StoreSnapshot) for effect in effects)
    assert any(isinstance(effect, MessageDropped) for effect in effects)
    responses = [effect.message for effect in effects if isinstance(effect, Send)]
    assert isinstance(responses[-1], InstallSnapshotResponse)
    assert responses[-1].next_offset == 0
    effects = [
        effect for chunk in chunks() for effect in core.step(MessageReceived(1, chunk), 1000)
    ]
    assert any(isinstance(effect, StoreSnapshot) for effect in effects)


def test_a_chunk_that_comes_twice_counts_once() -> None:
    core = follower()
    effects = [
        effect
        for chunk in chunks()
        for _ in range(2)
        for effect in core.step(MessageReceived(1, chunk), 1000)
    ]
    assert sum(isinstance(effect, StoreSnapshot) for effect in effects) == 1
