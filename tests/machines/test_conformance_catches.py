"""Each check of a machine's output finds a faulty machine that all other checks accept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256

import pytest

from qcore.errors import StoreError
from qcore.machines.interface import ApplyContext, StateMachine
from qcore.testing.conformance import expectation_checks
from qcore.testing.conformance import state_machine_conformance as suite
from tests.machines.test_conformance import Keys


def field_of(command: str, name: str) -> object:
    try:
        value = json.loads(command)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None


class Plain:
    """A correct machine: it holds any JSON value, including lone surrogates, and writes it as JSON."""

    name = "register"
    versions = (1, 1)

    def __init__(self) -> None:
        self.held: dict[str, object] = {}

    def apply(self, command: str, context: ApplyContext) -> str:
        key = field_of(command, "key")
        if not isinstance(key, str):
            return '{"ok":false}'
        self.held[key] = field_of(command, "value")
        return json.dumps({"ok": True, "value": self.held[key]})

    def query(self, query: str) -> str:
        key = field_of(query, "key")
        if not isinstance(key, str):
            raise StoreError("no key")
        return json.dumps(self.held.get(key))

    def snapshot(self) -> Iterable[str]:
        return [json.dumps(self.held, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.held = json.loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256(json.dumps(self.held, sort_keys=True).encode()).hexdigest()


class ReturnsTextsUnescaped(Plain):
    """Returns the client's text, not as JSON."""

    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        value = field_of(result, "value")
        return value if isinstance(value, str) else result


class ReturnsNone(Plain):
    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        return result if field_of(result, "value") != 1 else None  # type: ignore[return-value] # the fault


class ReturnsTooMuch(Plain):
    def apply(self, command: str, context: ApplyContext) -> str:
        result = super().apply(command, context)
        return result.ljust(2000) if field_of(result, "value") == 1 else result


class AnswersWithUnescapedTexts(Plain):
    def query(self, query: str) -> str:
        value = json.loads(super().query(query))
        return value if isinstance(value, str) else json.dumps(value)


class AnswersTooMuch(Plain):
    def query(self, query: str) -> str:
        answer = super().query(query)
        return answer if answer == "null" else answer.ljust(2000)


class HashesToANumber(Plain):
    def state_hash(self) -> str:
        return int(super().state_hash(), 16)  # type: ignore[return-value] # the fault


class HashesToAName(Plain):
    def state_hash(self) -> str:
        return f"sha256:{super().state_hash()}"


class StoresUnescapedTexts(Plain):
    """The snapshot has the texts without escapes, so it can be restored but not stored."""

    def snapshot(self) -> Iterable[str]:
        return [json.dumps(self.held, sort_keys=True, ensure_ascii=False)]


class StoresOneText(Plain):
    """Returns a text, which is an iterable of its characters."""

    def snapshot(self) -> Iterable[str]:
        return "".join(super().snapshot())


class StoresOneLargeChunk(Plain):
    def snapshot(self) -> Iterable[str]:
        return ["".join(super().snapshot()).ljust(2000)]


TESTS = [name for name in dir(Keys) if name.startswith("test_")]


@pytest.mark.parametrize(
    ("broken", "found_by", "says"),
    [
        (
            ReturnsTextsUnescaped,
            "test_results_can_be_sent",
            "a lone surrogate, U.D800, at character 0",
        ),
        (ReturnsNone, "test_results_can_be_sent", "is of the type NoneType; expected text"),
        (ReturnsTooMuch, "test_results_can_be_sent", "bytes as JSON; expected at most 1000"),
        (
            AnswersWithUnescapedTexts,
            "test_answers_can_be_sent",
            "the answer to the query .* a lone surro",
        ),
        (AnswersTooMuch, "test_answers_can_be_sent", "bytes as JSON; expected at most 1000"),
        (HashesToANumber, "test_the_hash_is_hexadecimal", "of the type int; expected hexadecimal"),
        (HashesToAName, "test_the_hash_is_hexadecimal", "gave 'sha256:.*; expected hexadecimal"),
        (
            StoresUnescapedTexts,
            "test_snapshots_can_be_stored",
            "chunk 1 of the snapshot has a lone surro",
        ),
        (StoresOneText, "test_snapshots_can_be_stored", "gave a text; expected chunks of text"),
        (StoresOneLargeChunk, "test_snapshots_can_be_stored", "characters; expected at most 1000"),
    ],
)
def test_invalid_machine_output_is_found_by_one_check(
    broken: Callable[[], StateMachine], found_by: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expectation_checks, "MAX_RESULT_BYTES", 1000)
    monkeypatch.setattr(suite, "MAX_CHUNK_CHARS", 1000)

    class Suite(Keys):
        examples = 300  # it ends with the first failure
        shrink = False

        def make(self) -> StateMachine:
            return broken()

    with pytest.raises(AssertionError, match=says):
        getattr(Suite(), found_by)()
    Suite.examples = 5
    for name in TESTS:
        if name != found_by:
            getattr(Suite(), name)()


class StoresUnescapedNames(Plain):
    """The snapshot has the names of the client's fields, not as JSON."""

    names = ""

    def apply(self, command: str, context: ApplyContext) -> str:
        if command.startswith("{"):
            self.names += " ".join(json.loads(command))
        return super().apply(command, context)

    def snapshot(self) -> Iterable[str]:
        return [*super().snapshot(), self.names]


class ReportsNoCost(Plain):
    last_cost = None


class RaisesInRecognises(Plain):
    def recognises(self, command: str) -> bool:
        return command.index("{") == 0


@pytest.mark.parametrize(
    ("broken", "found_by", "says"),
    [
        (StoresUnescapedNames, "test_snapshots_can_be_stored", "has a lone surrogate"),
        (ReportsNoCost, "test_reported_cost_and_recognition_have_valid_types", "last_cost is"),
        (
            RaisesInRecognises,
            "test_reported_cost_and_recognition_have_valid_types",
            "substring not found",
        ),
    ],
)
def test_other_faults_of_a_machine_are_found(
    broken: Callable[[], StateMachine], found_by: str, says: str
) -> None:
    class Suite(Keys):
        def make(self) -> StateMachine:
            return broken()

    with pytest.raises((AssertionError, ValueError), match=says):
        getattr(Suite(), found_by)()
