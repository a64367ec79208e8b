"""A run in which nothing was asked, or every answer was an error, does not pass unless the scenario allows it."""

from __future__ import annotations

from random import Random
from typing import Literal

import pytest

from qcore.errors import StoreError
from qcore.sim import run_scenario
from qcore.sim.oracles import Oracles
from tests.sim.support.counter_store import CounterStore
from tests.sim.support.scenario_texts import failures, run, scenario, seen

NO_QUORUM = "[{at_ms: 10, crash: [2, 3]}]"


@pytest.mark.parametrize(
    ("timeline", "workload", "text"),
    [
        ("[]", "{clients: 0}", "no request was asked"),
        ("[{at_ms: 1000, transfer: 2}]", "{clients: 0}", "no request was asked"),
        (NO_QUORUM, "{clients: 1, rate_per_s: 30}", "none of "),
        (NO_QUORUM, "{clients: 1, rate_per_s: 30, sessions: true}", "no request was asked"),
    ],
)
def test_a_run_without_an_answer_does_not_pass(timeline: str, workload: str, text: str) -> None:
    result = run(timeline, workload=workload)
    assert [each.name for each in result.failed()] == ["work_done"]
    assert seen(result)["work_done"].startswith(text)
    allowed = run(timeline, "{may_do_nothing: true}", workload=workload)
    assert allowed.ok, failures(allowed)


def test_one_operation_of_the_timeline_is_work() -> None:
    result = run("[{at_ms: 1000, write: leader}]", workload="{clients: 0}")
    assert result.ok, failures(result)
    assert seen(result)["work_done"] == "1 of 1 requests answered"


@pytest.mark.parametrize(
    ("answer", "is_error"),
    [
        ("bad command: no such thing", True),
        ("Error 7", True),
        ('{"error": "no such thing"}', True),
        ('{"error": null, "value": 1}', False),
        ("{not JSON", False),
        ("7", False),
    ],
)
def test_answers_in_the_form_of_errors_are_no_work(answer: str, is_error: bool) -> None:
    class Answers(CounterStore):
        def apply(self, command: str, context: object) -> str:
            return answer

    def requests(rng: Random) -> tuple[Literal["write", "read"], str]:
        return ("read", "a") if rng.random() < 0.5 else ("write", "x")

    result = run_scenario(scenario(until_ms=1300), 1, machine=Answers, requests=requests)
    assert result.ok is not is_error
    if is_error:
        assert seen(result)["work_done"].startswith("writes: only errors: ")
        assert f"answers such as {answer!r}" in seen(result)["work_done"]


def test_some_errors_among_answers_are_shown_and_allowed() -> None:
    class Sometimes(CounterStore):
        def query(self, query: str) -> str:
            if self.numbers.get("a", 0) % 2 == 0:
                raise StoreError("even")
            return super().query(query)

    def requests(rng: Random) -> tuple[Literal["write", "read"], str]:
        return ("read", "a") if rng.random() < 0.5 else ("write", '["add", "a", 1]')

    result = run_scenario(
        scenario(until_ms=2000), 1, machine=Sometimes, requests=requests, oracles=Oracles()
    )
    assert result.ok, failures(result)
    assert " StoreError of " in seen(result)["work_done"]
