"""Members whose data was wiped are told apart from those that were met before."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.errors import RemoteProtocolError, StorageError
from qcore.node.acquaintances import FILE_NAME, Acquaintances


def test_a_member_with_another_incarnation_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    Acquaintances(tmp_path).meet(3, "first")
    known = Acquaintances(tmp_path)
    known.check(3, "first")
    known.check(4, "stranger")
    with pytest.raises(RemoteProtocolError, match=r"node 3 was wiped.*removed.*added anew"):
        known.check(3, "second")


def test_a_member_that_was_removed_may_come_back_as_a_new_one(tmp_path: Path) -> None:
    known = Acquaintances(tmp_path)
    known.meet(2, "two")
    known.meet(3, "first")
    known.keep_only((1, 2))
    known = Acquaintances(tmp_path)
    known.check(3, "second")
    with pytest.raises(RemoteProtocolError):
        known.check(2, "other")


def test_a_node_of_a_version_without_incarnations_is_not_refused(tmp_path: Path) -> None:
    known = Acquaintances(tmp_path)
    known.meet(3, "first")
    known.check(3, "")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"3": 4}', b'{"3": "a"', b"\xff"])
def test_a_damaged_file_stops_the_start_and_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StorageError, match=FILE_NAME):
        Acquaintances(tmp_path)
