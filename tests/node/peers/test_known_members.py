"""A member whose data was wiped is distinguished from the member that this node has met before."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from qcore.core.effects import AppendLog, SaveHardState
from qcore.core.entry import Entry, HardState, Membership
from qcore.errors import DiskFull, RemoteProtocolError, StorageError
from qcore.machines.register import RegisterMachine
from qcore.node.application import TextApplication
from qcore.node.config import NodeConfig
from qcore.node.observability.logs import NodeLog
from qcore.node.peers.known_members_file import FILE_NAME, MAX_FILE_BYTES, load_known_members
from qcore.node.replica_node import ReplicaNode
from qcore.replica.peers.known_members import (
    MAX_INCARNATION,
    MAX_KNOWN_NON_MEMBERS,
    KnownMember,
    KnownMembers,
)
from qcore.storage.memory import MemoryStorage
from qcore.transport.address import Address

THREE = Membership(voters=(1, 2, 3))
#: How 0.1.0 reads and writes the file.
FILE_0_1_0 = TypeAdapter(dict[int, KnownMember | str])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that remembers the members 2 and 3."""
    known = load_known_members(tmp_path)
    known.remember(2, "two", Membership(voters=(1, 2, 3), joined=((2, 17),)))
    known.remember(3, "first", THREE)
    return tmp_path / FILE_NAME


def assert_remembers_both(known: KnownMembers) -> None:
    for node_id, incarnation in ((2, "two"), (3, "first")):
        known.check(node_id, incarnation)
        with pytest.raises(RemoteProtocolError, match="was wiped"):
            known.check(node_id, "another")


def damage_text(path: Path) -> str:
    """The error of a file that cannot be loaded."""
    with pytest.raises(StorageError) as caught:
        load_known_members(path.parent)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_another_incarnation_is_rejected_even_after_a_restart(tmp_path: Path) -> None:
    load_known_members(tmp_path).remember(3, "first", THREE)
    known = load_known_members(tmp_path)
    known.check(3, "first")
    known.check(4, "stranger")
    with pytest.raises(RemoteProtocolError, match=r"node 3 was wiped.*removed.*added again"):
        known.check(3, "second")


def test_a_member_that_was_removed_may_come_back_as_a_new_one(tmp_path: Path) -> None:
    known = load_known_members(tmp_path)
    known.remember(2, "two", THREE)
    known.remember(3, "first", THREE)
    known.retain(Membership(voters=(1, 2)))
    known = load_known_members(tmp_path)
    known.check(3, "second")
    with pytest.raises(RemoteProtocolError):
        known.check(2, "other")


def test_a_node_without_an_incarnation_is_accepted(tmp_path: Path) -> None:
    known = load_known_members(tmp_path)
    known.remember(3, "first", THREE)
    known.check(3, "")


def test_a_member_added_again_out_of_sight_is_a_new_member(tmp_path: Path) -> None:
    """The node may learn of it only from a snapshot that names the member again."""
    known = load_known_members(tmp_path)
    known.remember(2, "two", THREE)
    known.remember(3, "first", THREE)
    known.retain(Membership(voters=(1, 2, 3), joined=((3, 17),)))
    known = load_known_members(tmp_path)
    known.check(3, "second")
    with pytest.raises(RemoteProtocolError):
        known.check(2, "other")


def test_a_member_met_before_its_configuration_is_remembered(tmp_path: Path) -> None:
    """A node that lags behind gets messages from members that it does not know yet."""
    known = load_known_members(tmp_path)
    known.remember(4, "four", THREE)
    known.retain(Membership(voters=(1, 2, 3), learners=(4,), joined=((4, 9),)))
    known.retain(Membership(voters=(1, 2, 3, 4), joined=((4, 9),)))
    with pytest.raises(RemoteProtocolError):
        known.check(4, "wiped")


def test_an_older_configuration_forgets_no_later_member(
    tmp_path: Path,
) -> None:
    """After a restart a node may have a lower commit index than before."""
    known = load_known_members(tmp_path)
    known.remember(3, "first", THREE)
    known.remember(4, "four", Membership(voters=(1, 2, 3, 4), joined=((4, 9),)))
    known.retain(THREE, 8)
    for node_id in (3, 4):
        with pytest.raises(RemoteProtocolError):
            known.check(node_id, "wiped")
    known.retain(THREE, 9)
    known.check(4, "wiped")


def test_a_file_with_incarnations_only_is_read(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"2":"two","3":"first"}')
    known = load_known_members(tmp_path)
    known.retain(THREE)
    known = load_known_members(tmp_path)
    with pytest.raises(RemoteProtocolError):
        known.check(3, "second")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"3": 4}', b'{"3": "a"', b"\xff"])
def test_a_damaged_file_stops_the_start_and_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StorageError, match=FILE_NAME):
        load_known_members(tmp_path)


@pytest.mark.parametrize("members", [0, 1, 2])
def test_every_flipped_bit_is_rejected(tmp_path: Path, members: int) -> None:
    """Otherwise a healthy member could be rejected as wiped, or a wiped one accepted."""
    met = {2: KnownMember("two", 17), 3: KnownMember("0123456789abcdef" * 2)}
    load_known_members(tmp_path)._save(dict(list(met.items())[:members]))
    path = tmp_path / FILE_NAME
    intact = path.read_bytes()
    for position, byte in enumerate(intact):
        for bit in range(8):
            path.write_bytes(intact[:position] + bytes([byte ^ 1 << bit]) + intact[position + 1 :])
            assert "is damaged" in damage_text(path)
    path.write_bytes(intact)
    load_known_members(tmp_path)


def test_a_truncated_or_extended_file_is_rejected(path: Path) -> None:
    intact = path.read_bytes()
    for content in (*(intact[:length] for length in range(len(intact))), intact + b" ", intact * 2):
        path.write_bytes(content)
        assert "is damaged" in damage_text(path)


def test_the_error_of_a_damaged_file_says_what_to_do(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"first", b"First"))
    text = damage_text(path)
    for part in (
        "checksum",
        "which data directory each member has",
        "move the file away",
        "remove it",
    ):
        assert part in text


def test_version_0_1_0_can_read_and_rewrite_the_file(path: Path) -> None:
    """It takes the checksum for a member with id 0, and forgets that with the next configuration."""
    seen = FILE_0_1_0.validate_json(path.read_bytes())
    assert seen.pop(0)
    assert seen == {2: KnownMember("two", 17), 3: KnownMember("first", 0)}
    for kept in ({}, {0: KnownMember("sha256:" + "0" * 64)}):
        path.write_bytes(FILE_0_1_0.dump_json({**kept, **seen}))
        assert_remembers_both(load_known_members(path.parent))
        assert detects_a_change(path)


def detects_a_change(path: Path) -> bool:
    """Whether the file has a checksum, so that a change is detected."""
    intact = path.read_bytes()
    path.write_bytes(intact.replace(b"two", b"Two"))
    damage_text(path)
    path.write_bytes(intact)
    return True


def test_a_file_without_checksum_gets_one_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text('{"2":"two","3":{"incarnation":"first","joined":null}}')
    assert_remembers_both(load_known_members(tmp_path))
    assert detects_a_change(path)


def test_a_missing_file_is_created_and_warned_about(tmp_path: Path) -> None:
    warnings: list[str] = []
    load_known_members(tmp_path, (), warnings.append)
    assert warnings == []
    load_known_members(tmp_path, (2, 3), warnings.append)
    assert warnings == [], "the file exists: this node has not met them yet"
    (tmp_path / FILE_NAME).unlink()
    load_known_members(tmp_path, (3, 2), warnings.append)
    assert len(warnings) == 1
    assert f"{tmp_path / FILE_NAME} is missing" in warnings[0]
    assert "the members 2, 3" in warnings[0]


def test_a_full_disk_does_not_stop_a_start(tmp_path: Path) -> None:
    """A directory in the place of the new file has the same effect. The old file is read and stays unchanged."""
    (tmp_path / "peers.new").mkdir()
    (tmp_path / FILE_NAME).write_text('{"2":"two","3":"first"}')
    warnings: list[str] = []
    assert_remembers_both(load_known_members(tmp_path, (2, 3), warnings.append))
    assert [text for text in warnings if "cannot be written" in text] == warnings != []


def test_a_non_regular_or_oversized_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    os.mkfifo(path)
    assert "it is a FIFO" in damage_text(path)
    path.unlink()
    path.mkdir()
    assert "it is a directory" in damage_text(path)
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert f"larger than {MAX_FILE_BYTES} bytes" in damage_text(path)


def test_the_number_of_remembered_members_is_bounded(tmp_path: Path) -> None:
    """Whatever peers send, the file can always be written and read."""
    known = load_known_members(tmp_path)
    with pytest.raises(RemoteProtocolError, match=f"has {MAX_INCARNATION + 1} characters"):
        known.check(2, "x" * (MAX_INCARNATION + 1))
    strangers = {
        node_id: KnownMember("\1" * MAX_INCARNATION)
        for node_id in range(10, MAX_KNOWN_NON_MEMBERS + 10)
    }
    saved: list[int] = []
    crowded = KnownMembers(strangers, lambda met: saved.append(len(met)))
    crowded.remember(9, "one too many", THREE)
    crowded.check(9, "another")
    crowded.remember(3, "first", THREE)
    with pytest.raises(RemoteProtocolError, match="was wiped"):
        crowded.check(3, "another")
    assert saved == [MAX_KNOWN_NON_MEMBERS + 1]
    load_known_members(tmp_path)._save(strangers)
    assert (tmp_path / FILE_NAME).stat().st_size < MAX_FILE_BYTES / 2
    assert len(json.loads((tmp_path / FILE_NAME).read_bytes())) == MAX_KNOWN_NON_MEMBERS + 1
    load_known_members(tmp_path)


def node_of_three(directory: Path) -> ReplicaNode:
    """A node whose log has the members 1, 2 and 3. Create it inside an event loop."""
    addresses = tuple((member, f"127.0.0.1:{member}") for member in (1, 2, 3))
    membership = Membership(voters=(1, 2, 3), addresses=addresses, cluster_id="red")
    storage = MemoryStorage(1)
    storage.join_cluster("red")
    entry = Entry(1, 1, "membership", membership.to_json(), 0)
    storage.write([AppendLog(1, [entry]), SaveHardState(2, HardState(1, None, 1))], commit=1)
    config = NodeConfig.of(1, directory, ws_addr=Address("127.0.0.1", 0))
    return ReplicaNode(config, TextApplication(RegisterMachine()), storage, NodeLog(1))


def test_a_missing_file_is_warned_about_and_a_damaged_one_fatal(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def created() -> ReplicaNode:
        return node_of_three(path.parent)

    asyncio.run(created())
    assert not caplog.records
    path.write_bytes(path.read_bytes().replace(b"first", b"First"))
    with pytest.raises(StorageError, match="is damaged"):
        asyncio.run(created())
    # The caller gets no node, so it could not end a disk thread before it closes the storage.
    assert "qcore-storage" not in {thread.name for thread in threading.enumerate()}
    path.unlink()
    asyncio.run(created())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "the members 2, 3" in record.__dict__["qcore_fields"]["why"]


def test_a_failed_save_is_retried_later() -> None:
    """On a full disk: otherwise the file would lack members that were met, with a correct checksum."""
    saved: list[dict[int, KnownMember]] = []
    full = True

    def save(known: Mapping[int, KnownMember]) -> None:
        if full:
            raise DiskFull("no space")
        saved.append(dict(known))

    membership = Membership(voters=(1, 2), addresses=((1, "a:1"), (2, "b:2")), cluster_id="c")
    known = KnownMembers({}, save)
    with pytest.raises(DiskFull):
        known.remember(2, "incarnation", membership)
    with pytest.raises(DiskFull):
        known.retry_save()
    full = False
    known.retry_save()
    assert [sorted(one) for one in saved] == [[2]]
    known.retry_save()
    assert len(saved) == 1, "nothing is left to save"
