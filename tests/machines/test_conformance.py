"""The public suite for state machines, run on qcore's machines, and on machines that each break one promise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.entity.requests.perform_requests import parse_request
from qcore.machines.interface import ApplyContext, Change, StateMachine, TopicChange
from qcore.machines.register import RegisterMachine
from qcore.testing.conformance.state_machine_conformance import StateMachineConformance
from tests.examples import load_example
from tests.machines.entity.harness import FOLDER, OBJECT, USER, read, write

CounterMachine = load_example("counter_machine").CounterMachine


class Keys(StateMachineConformance):
    """The suite with commands and queries of the register machine."""

    def make(self) -> StateMachine:
        return RegisterMachine()

    def commands(self) -> st.SearchStrategy[str]:
        keys, values = st.sampled_from("abc"), st.integers(0, 2) | st.none() | st.just("ü")
        sets = st.fixed_dictionaries({"op": st.just("set"), "key": keys, "value": values})
        adds = st.fixed_dictionaries(
            {"op": st.just("add"), "key": keys, "amount": st.integers(1, 2)}
        )
        return (sets | adds).map(json.dumps) | st.just("nonsense")

    def queries(self) -> Sequence[str]:
        return [json.dumps({"op": "get", "key": key}) for key in "abcd"]


class TestRegisterMachine(Keys):
    """Runs the inherited suite."""


class TestEntityStore(StateMachineConformance):
    examples = 20

    def make(self) -> StateMachine:
        return EntityStore()

    def prelude(self) -> Sequence[str]:
        return [
            *(
                payload({"SetSchema": {"entity_schema": schema}})
                for schema in (OBJECT, FOLDER, USER)
            ),
            payload({"CreateEntity": {"entity_type": "User", "parent_id": None, "name": "u"}}),
        ]

    def commands(self) -> st.SearchStrategy[str]:
        types = st.sampled_from(["Folder", "User", "Ghost"])
        ids = st.builds(lambda typ, n: {"typ": typ, "id": n}, types, st.integers(4, 9))
        creates = st.builds(
            lambda typ, parent: {
                "CreateEntity": {"entity_type": typ, "parent_id": parent, "name": "n"}
            },
            types,
            st.none() | ids,
        )
        deletes = st.builds(lambda one: {"DeleteEntity": {"entity_id": one}}, ids)
        texts = st.sampled_from(["a", "\U0001f600"]).map(lambda text: {"String": text})
        writes = st.builds(
            lambda one, value: {"UpdateEntity": {"request": [write(one, "Name", value)]}},
            ids,
            texts,
        )
        return (creates | deletes | writes).map(payload) | st.just("nonsense")

    def queries(self) -> Sequence[str]:
        reads = [
            {"UpdateEntity": {"request": [read({"typ": typ, "id": number}, "Name")]}}
            for typ in ("Folder", "User")
            for number in range(4, 9)
        ]
        return [payload(request) for request in (*reads, {"GetSchema": {"entity_type": "User"}})]


class TestCounterMachine(StateMachineConformance):
    """The example in the README."""

    def make(self) -> StateMachine:
        machine: StateMachine = CounterMachine()
        return machine

    def commands(self) -> st.SearchStrategy[str]:
        texts = st.builds(
            lambda name, by: json.dumps({"name": name, "by": by}),
            st.sampled_from("ab"),
            st.integers(-2, 2),
        )
        return texts | st.just("nonsense")

    def queries(self) -> Sequence[str]:
        return ["a", "b", "c"]


def payload(request: object) -> str:
    return parse_request(json.dumps(request))[1]


# -- machines that break a promise ------------------------------------------------------------------


class SnapshotsTheLaterState(RegisterMachine):
    """The snapshot holds the state when it is read, not when it was taken."""

    def snapshot(self) -> Iterator[str]:
        yield from super().snapshot()


class KeepsTheStateAtARestore(RegisterMachine):
    """Keeps the state from before the restore."""

    def restore(self, chunks: Iterable[str]) -> None:
        before = dict(self._registers)
        super().restore(chunks)
        for key, value in before.items():
            if key not in self._registers:
                command = {"op": "set", "key": key, "value": json.loads(value)}
                super().apply(json.dumps(command), ApplyContext(1, 1))


class RestoresOnlyWholeChunks(RegisterMachine):
    def restore(self, chunks: Iterable[str]) -> None:
        pieces = list(chunks)
        assert all(piece.endswith("\n") for piece in pieces), "cut elsewhere"
        super().restore(pieces)


class Raises(RegisterMachine):
    def apply(self, command: str, context: ApplyContext) -> str:
        json.loads(command)
        return super().apply(command, context)


class QueriesChangeTheAnswer(RegisterMachine):
    asked = 0

    def query(self, query: str) -> str:
        self.asked += 1
        return f"{super().query(query)} {self.asked}"


class HashesOnlyTheKeys(RegisterMachine):
    def state_hash(self) -> str:
        return "".join(sorted(self._registers)).encode().hex() or "0"


_serial_numbers = iter(range(10**9))


class ResultsDependOnTheObject(RegisterMachine):
    """Puts a number of the object into its results."""

    def __init__(self) -> None:
        super().__init__()
        self._id = next(_serial_numbers)

    def apply(self, command: str, context: ApplyContext) -> str:
        return f"{self._id} {super().apply(command, context)}"


class HasAnInvalidName(RegisterMachine):
    name = "machines/mine.py"


class RemembersTheVersion(RegisterMachine):
    """A node that starts from a snapshot does not know the version before it."""

    versions = (1, 2)
    seen = 0

    def apply(self, command: str, context: ApplyContext) -> str:
        before, self.seen = self.seen, context.version
        return f"{before} {super().apply(command, context)}"


class KeepsTheChanges(RegisterMachine):
    """Reports the changes of an earlier command after one that failed."""

    def apply(self, command: str, context: ApplyContext) -> str:
        before = self._changes
        result = super().apply(command, context)
        self._changes = self._changes or before
        return result


class NamesATopicTwice(RegisterMachine):
    def last_changes(self) -> Sequence[Change]:
        return [TopicChange(("x", "x"), one.body) for one in super().last_changes()]


class ChangesDependOnTheObject(ResultsDependOnTheObject):
    def apply(self, command: str, context: ApplyContext) -> str:
        return RegisterMachine.apply(self, command, context)

    def last_changes(self) -> Sequence[Change]:
        return [TopicChange(one.topics, str(self._id)) for one in super().last_changes()]


class BodiesAreNotJson(RegisterMachine):
    def last_changes(self) -> Sequence[Change]:
        return [TopicChange(one.topics, "{" + one.body) for one in super().last_changes()]


class QueriesForgetTheChanges(RegisterMachine):
    def query(self, query: str) -> str:
        self._changes = ()
        return super().query(query)


@pytest.mark.parametrize(
    ("broken", "found_by"),
    [
        (SnapshotsTheLaterState, "test_snapshot_keeps_the_state_of_its_call"),
        (KeepsTheStateAtARestore, "test_restored_machine_equals_the_original_and_stays_equal"),
        (RestoresOnlyWholeChunks, "test_chunks_may_be_cut_anywhere"),
        (Raises, "test_unexpected_texts_are_answered_without_raising"),
        (QueriesChangeTheAnswer, "test_queries_change_nothing"),
        (HashesOnlyTheKeys, "test_different_answers_mean_different_hashes"),
        (ResultsDependOnTheObject, "test_same_commands_give_the_same_state"),
        (HasAnInvalidName, "test_name_and_versions_are_declared"),
        (RemembersTheVersion, "test_an_upgrade_keeps_the_earlier_state"),
        (KeepsTheChanges, "test_changes_depend_only_on_the_commands"),
        (NamesATopicTwice, "test_changes_depend_only_on_the_commands"),
        (ChangesDependOnTheObject, "test_changes_depend_only_on_the_commands"),
        (BodiesAreNotJson, "test_changes_depend_only_on_the_commands"),
        (QueriesForgetTheChanges, "test_changes_depend_only_on_the_commands"),
    ],
)
def test_broken_machine_is_found(broken: Callable[[], StateMachine], found_by: str) -> None:
    class Suite(Keys):
        examples = 200
        shrink = False

        def make(self) -> StateMachine:
            return broken()

    with pytest.raises((AssertionError, ValueError, ConfigError)):
        getattr(Suite(), found_by)()
