"""The limits of snapshots count bytes of UTF-8, and offsets count characters."""

from __future__ import annotations

import json
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.core import RaftConfig
from qcore.core.effects import MessageDropped, StoreSnapshot
from qcore.core.events import SnapshotTaken
from qcore.core.messages import InstallSnapshot, InstallSnapshotResponse
from qcore.core.text_size import part_within, utf8_length
from qcore.transport.limits import TransportLimits
from tests.core.support.single_core import THREE, only, receive, restored, sent_messages
from tests.driver.cores import CoreCluster

WIDE = "𝄞"  # four bytes as UTF-8
TEXTS = st.text(st.sampled_from("aé€𝄞"), max_size=30)


@settings(max_examples=60)
@given(TEXTS, st.integers(0, 30), st.integers(1, 40))
def test_a_part_has_at_most_so_many_bytes(text: str, start: int, limit: int) -> None:
    part = part_within(text, start, limit)
    assert text[start:].startswith(part)
    rest = text[start + len(part) :]
    if len(part) > 1:
        assert utf8_length(part) <= limit
    if rest:
        assert part, "every part makes progress"
        assert utf8_length(part + rest[0]) > limit, "the part is as long as it may be"


def test_a_chunk_of_wide_characters_is_within_limit_and_frame() -> None:
    limit = RaftConfig(1).max_snapshot_chunk
    part = part_within(WIDE * 200_000 + "x", 0, limit)
    assert utf8_length(part) == limit
    assert len(json.dumps(part).encode()) < TransportLimits().max_frame_bytes / 4
    assert part_within("x" + WIDE * 200_000, 0, limit) == "x" + WIDE * (limit // 4 - 1)


@pytest.mark.parametrize("limit", [1, 4, 9, 20])
def test_a_snapshot_is_sent_in_chunks_of_bytes(limit: int) -> None:
    cluster = CoreCluster.of(3, RaftConfig(node_id=1, max_snapshot_chunk=limit))
    cluster.elect(1)
    cluster.isolate(3)
    cluster.propose(1, "a", "b")
    cluster.settle()
    node = cluster.drivers[1]
    ascii_text = f"{node.machine.index}:{node.machine.digest:010}"
    # Digits that take four bytes: `int` reads them, too.
    text = "".join(chr(0x1D7CE + int(c)) if c.isdigit() else c for c in ascii_text)
    cluster.step(1, SnapshotTaken(node.machine.index, text, 0, checksum=crc32(text.encode())))
    cluster.heal()
    cluster.timeout(1)
    chunks: list[InstallSnapshot] = []
    while cluster.core(3).status().snapshot_index < node.machine.index:
        for each in cluster.alive():
            cluster.persist(each.node_id)
        message = cluster.network.messages[0].message
        if isinstance(message, InstallSnapshot):
            chunks.append(message)
        cluster.deliver()
    assert "".join(chunk.data for chunk in chunks) == text
    assert all(len(chunk.data) == 1 or utf8_length(chunk.data) <= limit for chunk in chunks)
    assert [chunk.offset for chunk in chunks] == [
        sum(len(before.data) for before in chunks[:number]) for number in range(len(chunks))
    ], "offsets count characters"
    assert {chunk.total for chunk in chunks} == {len(text)}


def chunk(text: str, offset: int, end: int) -> InstallSnapshot:
    return InstallSnapshot(
        term=2,
        leader_id=2,
        last_included_index=50,
        last_included_term=1,
        last_included_time_us=0,
        membership=THREE,
        offset=offset,
        total=len(text),
        checksum=crc32(text.encode()),
        data=text[offset:end],
        round=0,
    )


def test_a_snapshot_of_too_many_bytes_is_dropped_and_forgotten() -> None:
    text = "x" * 10 + WIDE * 20  # 30 characters, 90 bytes
    core = restored(config=RaftConfig(1, max_snapshot_size=89))
    effects = receive(core, 2, chunk(text, 0, 10))
    (response,) = sent_messages(effects, InstallSnapshotResponse)
    assert response.next_offset == 10
    effects = receive(core, 2, chunk(text, 10, 29))
    assert sent_messages(effects, InstallSnapshotResponse), "the rest may still be small"
    for offset in (29, 29, 0):
        effects = receive(core, 2, chunk(text, offset, 30))
        assert "more than 89 bytes" in only(effects, MessageDropped).reason
        assert not sent_messages(effects, InstallSnapshotResponse)
    incoming = core._server.incoming_snapshot
    assert incoming is not None
    assert incoming.text.length == 0, "its text takes no memory"

    small = "y" * 30
    effects = receive(core, 2, chunk(small, 0, 30))
    assert only(effects, StoreSnapshot).snapshot.data == small, "another snapshot is accepted"


def test_a_snapshot_of_exactly_the_limit_is_installed() -> None:
    text = "é" * 50
    core = restored(config=RaftConfig(1, max_snapshot_size=100))
    effects = receive(core, 2, chunk(text, 0, 50))
    assert only(effects, StoreSnapshot).snapshot.data == text
