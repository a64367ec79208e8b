"""`check(history)` and `Model`: what they receive, and what the run reports of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Literal

import pytest

from qcore.sim import RunResult, run_scenario
from qcore.sim.oracles import Oracles, Request, RequestRecord
from tests.sim.support.counter_store import CounterModel, CounterStore, draw_request
from tests.sim.support.scenario_texts import failures, scenario, seen

FAULTS = scenario(
    "[{at_ms: 600, crash: leader, for_ms: 300}, {at_ms: 1300, isolate: leader, for_ms: 300}]",
    workload="{clients: 3, rate_per_s: 80}",
    until_ms=3200,
)
SHORT = scenario(until_ms=1400)


def judged(oracles: Oracles, machine: Callable[[], Any] = CounterStore) -> RunResult:
    return run_scenario(SHORT, 1, machine=machine, requests=draw_request, oracles=oracles)


def test_the_history_holds_every_request_and_answer() -> None:
    received: list[Sequence[RequestRecord]] = []
    oracles = Oracles(check=received.append)
    result = run_scenario(FAULTS, 2, machine=CounterStore, requests=draw_request, oracles=oracles)
    assert result.ok, failures(result)
    (history,) = received
    assert [each.invoke_us for each in history] == sorted(each.invoke_us for each in history)
    assert {each.outcome for each in history} == {"ok", "unknown"}
    for record in history:
        assert record.client in (1, 2, 3)
        assert record.kind == ("write" if record.text.startswith("[") else "read")
        assert record.return_us is not None
        assert record.return_us > record.invoke_us
        if record.outcome == "ok":
            assert record.answer is not None
            assert record.error == ""
            assert record.node in (1, 2, 3)
            assert record.index  # of reads, too
        else:
            assert (record.answer, record.index) == (None, None)
            assert record.error in ("connection lost", "timeout", "OutcomeUnknown")
    with pytest.raises(AttributeError):
        history[0].text = "x"  # type: ignore[misc]  # the record never changes


def two_texts(_history: Sequence[RequestRecord]) -> list[str]:
    return ["first", "second"]


def yields(_history: Sequence[RequestRecord]) -> Iterator[str]:
    yield from ("first", "second")


def asserts_at_the_end(history: Sequence[RequestRecord]) -> Iterator[str]:
    yield "first"
    assert not history, "there is a history"


@pytest.mark.parametrize(
    ("check", "note"),
    [
        (lambda _: "wrong", "wrong"),
        (lambda _: False, "it returned False"),
        (two_texts, "first\nsecond"),
        (yields, "first\nsecond"),
        (asserts_at_the_end, "first\nthere is a history"),
        (lambda _: None, None),
        (lambda _: True, None),
        (lambda _: [], None),
        (lambda _: "", None),
    ],
)
def test_a_check_fails_by_texts_or_by_assertions(check: Any, note: str | None) -> None:
    """Any: a check may return several types."""
    result = judged(Oracles(check=check))
    if note is None:
        assert result.ok, failures(result)
        return
    assert [each.check for each in result.violations] == ["check"]
    assert result.violations[0].note.startswith(note)
    assert seen(result)["check"] == f"found {1 + note.count(chr(10))}"
    assert seen(result)["safe"] == "violated: check"


def test_a_correct_machine_fits_its_model_without_search() -> None:
    for seed in (1, 2):
        result = run_scenario(
            FAULTS,
            seed,
            machine=CounterStore,
            requests=draw_request,
            oracles=Oracles(model=CounterModel),
        )
        assert result.ok, failures(result)
        assert seen(result)["model"].endswith("the order of the log explains them")
        linearizability = result.metrics["linearizability"]
        assert isinstance(linearizability, dict)
        assert linearizability["steps"] == 0
        assert linearizability["operations"]


class ChangesTheState(CounterModel):
    def initial(self) -> Any:
        return {"number": 0}

    def step(self, number: Any, request: Request, answer: str | None) -> tuple[bool, Any]:
        number["number"] += 1
        return True, number


class ReturnsTrue(CounterModel):
    def step(self, number: int, request: Request, answer: str | None) -> Any:
        return True


class Raises(CounterModel):
    def step(self, number: int, request: Request, answer: str | None) -> Any:
        return json.loads("{")


class WantsAnAnswer(CounterModel):
    def step(self, number: int, request: Request, answer: str | None) -> tuple[bool, int]:
        expected, after = self._next(number, request)
        return answer == expected, after


class BadPartition(CounterModel):
    def partition(self, request: Request) -> Any:
        raise KeyError("x")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ChangesTheState, "Model.step changed the state that it was given, for "),
        (ReturnsTrue, "Model.step returned True for "),
        (Raises, "Model.step raised JSONDecodeError"),
        (WantsAnAnswer, "Model.step rejected a request without an answer"),
        (BadPartition, "Model.partition raised KeyError: 'x'"),
    ],
)
def test_a_broken_model_fails_the_run_by_its_name(model: type, message: str) -> None:
    result = run_scenario(
        FAULTS, 1, machine=CounterStore, requests=draw_request, oracles=Oracles(model=model)
    )
    assert result.violations == ()
    assert [each.name for each in result.failed()] == ["model"]
    assert message in seen(result)["model"]


def test_a_model_that_judged_nothing_does_not_pass() -> None:
    def stale(_rng: Random) -> tuple[Literal["stale_read"], str]:
        return "stale_read", "a"

    result = run_scenario(
        SHORT, 1, machine=CounterStore, requests=stale, oracles=Oracles(model=CounterModel)
    )
    assert [each.name for each in result.failed()] == ["model"]
    assert seen(result)["model"] == "it judged no request"


class ReadsNothing(CounterStore):
    """Reads of one key find nothing."""

    def query(self, query: str) -> str:
        return "0" if query == "a" else super().query(query)


def test_the_report_names_state_request_and_right_answer() -> None:
    result = judged(Oracles(model=CounterModel), ReadsNothing)
    (violation,) = result.violations
    assert violation.check == "linearizability"
    lines = violation.note.split("\n")
    assert lines[0].startswith("in the order of the log, the first ")
    assert lines[0].endswith(" requests of the key 'a' fit; the last of them:")
    (position,) = [n for n, line in enumerate(lines) if line.startswith("then the state is ")]
    assert lines[position].endswith("and this does not fit: the model does not allow this answer")
    number = lines[position].removeprefix("then the state is ").split(",")[0]
    assert int(number) > 0
    assert "read 'a': answered '0' through node " in lines[position + 1]
    assert lines[position + 2] == f"    the model answers '{number}'"
    assert any(line.startswith("no other order explains every answer") for line in lines)


@pytest.mark.parametrize("key", ["linearizable: true", "consistency: sequential"])
def test_a_level_can_be_asked_of_a_machine_with_a_model(key: str) -> None:
    spec = scenario(expect=f"{{{key}}}", until_ms=1400)
    result = run_scenario(
        spec, 1, machine=CounterStore, requests=draw_request, oracles=Oracles(model=CounterModel)
    )
    assert result.ok, failures(result)
