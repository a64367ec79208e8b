"""Members whose data was wiped are told apart from those that were met before."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.core.entry import Membership
from qcore.errors import RemoteProtocolError, StorageError
from qcore.node.known_members import FILE_NAME, load_known_members

THREE = Membership(voters=(1, 2, 3))


def test_a_member_with_another_incarnation_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    load_known_members(tmp_path).meet(3, "first", THREE)
    known = load_known_members(tmp_path)
    known.check(3, "first")
    known.check(4, "stranger")
    with pytest.raises(RemoteProtocolError, match=r"node 3 was wiped.*removed.*added again"):
        known.check(3, "second")


def test_a_member_that_was_removed_may_come_back_as_a_new_one(tmp_path: Path) -> None:
    known = load_known_members(tmp_path)
    known.meet(2, "two", THREE)
    known.meet(3, "first", THREE)
    known.follow(Membership(voters=(1, 2)))
    known = load_known_members(tmp_path)
    known.check(3, "second")
    with pytest.raises(RemoteProtocolError):
        known.check(2, "other")


def test_a_node_of_a_version_without_incarnations_is_not_refused(tmp_path: Path) -> None:
    known = load_known_members(tmp_path)
    known.meet(3, "first", THREE)
    known.check(3, "")


def test_one_that_was_removed_and_added_again_out_of_sight_is_a_new_member(tmp_path: Path) -> None:
    """All that a node may see of it is a snapshot that names the member again."""
    known = load_known_members(tmp_path)
    known.meet(2, "two", THREE)
    known.meet(3, "first", THREE)
    known.follow(Membership(voters=(1, 2, 3), joined=((3, 17),)))
    known = load_known_members(tmp_path)
    known.check(3, "second")
    with pytest.raises(RemoteProtocolError):
        known.check(2, "other")


def test_one_met_before_the_own_configuration_knows_it_is_remembered(tmp_path: Path) -> None:
    """A node that lags behind is spoken to by members that it does not know yet."""
    known = load_known_members(tmp_path)
    known.meet(4, "four", THREE)
    known.follow(Membership(voters=(1, 2, 3), learners=(4,), joined=((4, 9),)))
    known.follow(Membership(voters=(1, 2, 3, 4), joined=((4, 9),)))
    with pytest.raises(RemoteProtocolError):
        known.check(4, "wiped")


def test_an_older_configuration_does_not_make_a_node_forget_who_joined_later(
    tmp_path: Path,
) -> None:
    """After a restart less may be known to be committed than before."""
    known = load_known_members(tmp_path)
    known.meet(3, "first", THREE)
    known.meet(4, "four", Membership(voters=(1, 2, 3, 4), joined=((4, 9),)))
    known.follow(THREE, 8)
    for node_id in (3, 4):
        with pytest.raises(RemoteProtocolError):
            known.check(node_id, "wiped")
    known.follow(THREE, 9)
    known.check(4, "wiped")


def test_a_file_of_incarnations_alone_is_understood(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"2":"two","3":"first"}')
    known = load_known_members(tmp_path)
    known.follow(THREE)
    known = load_known_members(tmp_path)
    with pytest.raises(RemoteProtocolError):
        known.check(3, "second")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"3": 4}', b'{"3": "a"', b"\xff"])
def test_a_damaged_file_stops_the_start_and_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StorageError, match=FILE_NAME):
        load_known_members(tmp_path)
