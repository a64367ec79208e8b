"""Revisions, compaction, and states that come from another log."""

from __future__ import annotations

import json

import pytest

from qcore.errors import RevisionCompacted, StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.kv.kv_machine import KeyValueMachine
from tests.machines.kv.lone_machine import LoneMachine


def test_the_revision_is_the_log_index_of_a_change() -> None:
    lone = LoneMachine()
    lone.index = 41
    assert lone.put("a") == 42
    assert lone.ask(op="status")["revision"] == 42
    assert lone.send(op="range", key="a")["revision"] == 42
    assert lone.send(op="delete", key="b") == {"ok": True, "revision": 42, "deleted": 0}
    assert lone.put("b") == 45


def test_a_revision_never_goes_back() -> None:
    """A state from a longer log is restored into a shorter one."""
    old, new = LoneMachine(), LoneMachine()
    old.index = 1000
    old.put("a", "1")
    second = old.put("a", "2")
    new.machine.restore(old.machine.snapshot())
    third = new.put("a", "3")
    assert third == second + 1
    fourth = new.put("a", "4")
    assert fourth == third + 1
    again = LoneMachine()
    again.machine.restore(new.machine.snapshot())
    again.index = new.index
    assert again.put("a", "5") == fourth + 1
    assert again.ask(op="range", key="a", revision=second)["kvs"][0]["value"] == "2"
    found = again.machine.changes_from(again.index - 1)
    assert found is not None
    assert [json.loads(change.body)["kv"]["mod_revision"] for change in found[1]] == [fourth]


def test_an_earlier_revision_shows_the_state_at_it() -> None:
    lone = LoneMachine()
    first = lone.put("a", "1")
    lone.put("b")
    lone.send(op="delete", key="a")
    last = lone.put("a", "2")
    assert lone.keys(prefix="", revision=first) == ["a"]
    assert lone.keys(prefix="", revision=last - 1) == ["b"]
    assert lone.ask(op="range", key="a", revision=last)["kvs"][0]["create_revision"] == last


def test_compaction_keeps_the_state_at_its_revision() -> None:
    lone = LoneMachine()
    lone.put("a", "1")
    kept = lone.put("a", "2")
    lone.put("a", "3")
    assert lone.send(op="compact", revision=kept)["ok"]
    assert lone.ask(op="range", key="a", revision=kept)["kvs"][0]["value"] == "2"
    with pytest.raises(RevisionCompacted) as caught:
        lone.ask(op="range", key="a", revision=kept - 1)
    assert caught.value.compacted == kept
    assert lone.send(op="compact", revision=kept)["detail"]["code"] == "RevisionCompacted"
    assert lone.ask(op="range", key="a")["kvs"][0]["version"] == 3


def test_compaction_frees_versions_and_deleted_keys() -> None:
    lone, small = LoneMachine(), LoneMachine()
    for number in range(1000):
        lone.put("a", str(number))
        lone.put("gone")
        lone.send(op="delete", key="gone")
    small.index = lone.index
    last = lone.put("a", "last")
    grown = lone.machine.state_bytes
    lone.send(op="compact", revision=last)
    for _ in range(100):
        lone.put("a", "last")
    lone.send(op="compact", revision=lone.index)
    for _ in range(4):
        lone.put("a", "last")
    assert lone.ask(op="status")["history"] < 10
    assert lone.machine.state_bytes < grown / 100
    assert lone.keys() == ["a"]


def test_a_shorter_history_is_kept_from_the_next_change_on() -> None:
    lone = LoneMachine()
    for number in range(20):
        lone.put("a", str(number))
    lone.send(op="history", max_changes=5, max_bytes=1 << 20)
    last = lone.put("a", "last")
    status = lone.ask(op="status")
    assert (status["history"], status["max_changes"]) == (5, 5)
    # Five changes are kept: those of the revisions 17 to 20, and the last one.
    assert status["compacted"] == 17
    assert lone.ask(op="range", key="a", revision=17)["kvs"][0]["value"] == "16"
    assert lone.ask(op="range", key="a", revision=last)["kvs"][0]["value"] == "last"


def test_the_history_is_bounded_in_bytes() -> None:
    lone = LoneMachine()
    lone.send(op="history", max_changes=1000, max_bytes=10_000)
    for _ in range(100):
        lone.put("a", "x" * 1000)
    assert lone.ask(op="status")["history"] < 10
    assert lone.machine.state_bytes < 20_000


def test_the_time_that_a_lease_has_left_is_of_the_command() -> None:
    lone = LoneMachine()
    lease = lone.send(op="grant", ttl_ms=1000)["id"]
    lone.clock_us += 400_000
    assert lone.send(op="lease", id=lease)["remaining_ms"] == 600
    lone.clock_us += 600_000
    assert lone.send(op="lease", id=lease)["detail"]["code"] == "LeaseNotFound"


@pytest.mark.parametrize(
    ("line", "replacement", "reason"),
    [
        (0, None, "line 1 is not the header"),
        (0, '{"format":"qcore-kv","version":1}', "give --machine register"),
        (0, '{"format":"qcore-keys","version":9}', "a newer qcore: format 9"),
        (2, None, "cut short"),
        (1, "[1]", "malformed"),
        (2, '["a",1,0,1,1,0]', "malformed"),
        (2, '["a",1,0,1,0,0,"x"]', "malformed"),
        (2, '[7,1,0,1,1,0,"x"]', "key must be text"),
    ],
)
def test_a_damaged_snapshot_is_rejected(line: int, replacement: str | None, reason: str) -> None:
    lone = LoneMachine()
    lone.send(op="grant", ttl_ms=1000)
    lone.put("a")
    lines = "".join(lone.machine.snapshot()).splitlines(keepends=True)
    lines[line : line + 1] = [] if replacement is None else [replacement + "\n"]
    before = lone.machine.state_hash()
    with pytest.raises(StoreError, match=reason):
        lone.machine.restore(lines)
    assert lone.machine.state_hash() == before


def test_the_clock_of_a_lease_never_goes_back() -> None:
    """An old leader's entry can have an earlier time than the one before."""
    machine = KeyValueMachine()
    machine.apply('{"op":"grant","ttl_ms":1000,"id":7}', ApplyContext(1, 0, clock_us=500_000))
    machine.apply('{"op":"keep","id":7}', ApplyContext(2, 0, clock_us=100_000))
    assert machine.next_expiry_us() == 1_500_000
