"""`qcore token recover`: it makes no token that has no use."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcore.core.effects import AppendLog, StoreSnapshot
from qcore.replica.access.access_commands import SetUser, command_text
from tests.process.support.commands import Ended, run_here
from tests.recovery.directories import SNAPSHOT_TEXT, entry, make, open_storage, snapshot

USERS = '{"access":[1,0,0]}\n["root","",["admin"],1,1]\n'


def recover(path: Path) -> Ended:
    return run_here("token", "recover", "--data-dir", str(path))


def test_without_users_it_says_what_to_do(tmp_path: Path) -> None:
    ended = recover(make(tmp_path / "n").path)
    assert (ended.code, ended.stdout) == (2, "")
    assert "the log there has no users" in ended.stderr
    assert "add the first user with `qcore user add NAME --role admin`" in ended.stderr


@pytest.mark.parametrize("in_snapshot", [False, True])
def test_a_user_of_the_log_or_the_snapshot_gets_a_token(tmp_path: Path, in_snapshot: bool) -> None:
    path = make(tmp_path / "n").path
    storage = open_storage(path)
    storage.load()
    if in_snapshot:
        storage.write([StoreSnapshot(9, snapshot(50, USERS + SNAPSHOT_TEXT), 50, False)])
    else:
        command = command_text(SetUser("root", None, ("admin",)))
        storage.write([AppendLog(9, [entry(61, "access", command)])], commit=61)
    storage.close()
    ended = recover(path)
    assert (ended.code, ended.stderr) == (0, "")
    assert len(ended.stdout) > 100
