"""The key file of a node: made once, private, checked, and never made again for a member."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from qcore.errors import StorageError
from qcore.node.peers.node_key_file import KEY_FILE_NAME, load_key, load_or_create_key


def test_a_directory_gets_one_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    assert load_key(tmp_path) is None
    key = load_or_create_key(tmp_path, os.urandom)
    file = tmp_path / KEY_FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = load_or_create_key(tmp_path, os.urandom)
    assert (again.public, again.seed) == (key.public, key.seed)
    assert load_or_create_key(tmp_path, os.urandom, "another").public == key.public
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE_NAME]


def test_a_member_without_its_key_file_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing.*remove the node"):
        load_or_create_key(tmp_path, os.urandom, "ed25519:configured")
    assert load_key(tmp_path) is None


def test_every_damaged_byte_of_a_key_file_is_found(tmp_path: Path) -> None:
    load_or_create_key(tmp_path, os.urandom)
    file = tmp_path / KEY_FILE_NAME
    content = file.read_bytes()
    for at in range(len(content)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(StorageError, match="damaged"):
            load_key(tmp_path)
    for end in (0, 10, len(content) - 1):
        file.write_bytes(content[:end])
        with pytest.raises(StorageError, match="damaged"):
            load_key(tmp_path)


def test_the_rights_of_others_to_a_key_file_are_taken_away(tmp_path: Path) -> None:
    load_or_create_key(tmp_path, os.urandom)
    file = tmp_path / KEY_FILE_NAME
    for mode in (0o644, 0o660, 0o601):
        file.chmod(mode)
        load_key(tmp_path)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_file_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    load_or_create_key(elsewhere, os.urandom)
    (tmp_path / KEY_FILE_NAME).symlink_to(elsewhere / KEY_FILE_NAME)
    with pytest.raises(StorageError, match="symbolic link"):
        load_key(tmp_path)
    (tmp_path / KEY_FILE_NAME).unlink()
    (tmp_path / KEY_FILE_NAME).symlink_to(tmp_path / "nothing")
    with pytest.raises(StorageError):
        load_or_create_key(tmp_path, os.urandom)
