"""A program copies, pickles and compares qcore's values in the same way on both builds."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, fields, replace
from typing import TypeVar

import pytest

import qcore
from qcore.core import DurableState, Entry, HardState, Membership, Snapshot, SnapshotMeta
from qcore.core.effects import AppendLog, Send
from qcore.core.events import Propose
from qcore.core.log.growing_text import TextBuilder
from qcore.core.messages import AppendEntries
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.replica.messages import ReadIndex

T = TypeVar("T")

ENTRY = Entry(3, 2, "command", "text", 5, user="ann")
MEMBERS = Membership((1, 2, 3), addresses=((1, "a:1"),), cluster_id="red")
META = SnapshotMeta(3, 2, 5, MEMBERS)


def large_text() -> Snapshot:
    text = TextBuilder()
    text.add("ä1" * 100_000)
    return Snapshot(META, text.build(), checksum=7)


VALUES = [
    ENTRY,
    HardState(4, 2, 1, 600),
    MEMBERS,
    META,
    Snapshot(META, "state", checksum=7),
    large_text(),
    DurableState(HardState(4), Snapshot(META, "state"), [ENTRY]),
    AppendEntries(2, 1, 2, 1, 3, [ENTRY], 7),
    AppendLog(4, [ENTRY]),
    Send(2, AppendEntries(2, 1, 2, 1, 3, [ENTRY], 7), 4),
    Propose(["command"], 5),
    ReadIndex(1, 500),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_copies_are_equal_and_separate(value: object) -> None:
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert type(twin) is type(value)
        assert twin is not value
        assert twin == value
        assert repr(twin) == repr(value)


def test_a_deep_copy_shares_no_entry() -> None:
    state = DurableState(HardState(4), None, [ENTRY])
    shallow, deep = copy.copy(state), copy.deepcopy(state)
    assert shallow.entries is state.entries
    assert deep.entries is not state.entries
    assert deep.entries[0] is not ENTRY


def test_fields_that_no_comparison_uses_are_copied_too() -> None:
    snapshot = Snapshot(META, "state", checksum=7)
    assert pickle.loads(pickle.dumps(snapshot)).checksum == 7


def test_the_functions_of_dataclasses_work() -> None:
    assert replace(ENTRY, term=9) == Entry(3, 9, "command", "text", 5, user="ann")
    assert asdict(HardState(4)) == {"term": 4, "voted_for": None, "commit": 0, "promise_ms": 0}
    assert astuple(HardState(4)) == (4, None, 0, 0)
    assert {field.name: field.type for field in fields(Membership)}["voters"] == "tuple[int, ...]"
    assert hash(MEMBERS) == hash(copy.copy(MEMBERS))
    with pytest.raises(FrozenInstanceError):
        MEMBERS.voters = ()  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError, match="unhashable"):
        hash(ENTRY)


def test_the_classes_of_values_are_explained() -> None:
    for cls in (Entry, DurableState, Membership, qcore.RaftCore, AppendEntries):
        assert (cls.__doc__ or "").strip(), cls


def pickled(value: T) -> T:
    """A copy by way of a pickle."""
    copied: T = pickle.loads(pickle.dumps(value))
    return copied


class Counting(EntityStore):
    """A program's machine, with an attribute that the compiled base does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.commands = 7


class NamedRegisters(RegisterMachine):
    """As `Counting`."""

    def __init__(self) -> None:
        super().__init__()
        self.commands = 7


@pytest.mark.parametrize("make", [Counting, NamedRegisters])
def test_a_copied_machine_loses_nothing_silently(
    make: Callable[[], Counting | NamedRegisters],
) -> None:
    machine = make()
    for copied in (copy.copy, copy.deepcopy, pickled):
        if qcore.BUILD == "pure":
            assert copied(machine).commands == 7
        else:
            with pytest.raises(TypeError, match="restore its snapshot"):
                copied(machine)


def test_a_change_of_a_register_can_be_copied() -> None:
    machine = RegisterMachine()
    machine.apply('{"op": "set", "key": "a", "value": 1}', ApplyContext(1, 0))
    (change,) = machine.last_changes()
    for twin in (copy.deepcopy(change), pickle.loads(pickle.dumps(change))):
        assert (twin.topics, twin.body) == (change.topics, change.body)
