"""Results, verdicts and scenarios as a notebook shows them."""

from __future__ import annotations

from qcore.sim import Scenario
from qcore.sim.linearizability import Operation, check_history
from qcore.sim.verdict.result import Expectation, RunResult
from qcore.sim.world.services import Violation


def _result(*violations: Violation) -> RunResult:
    expectation = Expectation("safe", not violations, "no violation", "x < y & z")
    return RunResult(
        "demo",
        7,
        not violations,
        violations,
        (expectation,),
        {},
        "00",
        "qcore sim run demo --seed 7",
    )


def test_a_result_is_a_table_of_expectations() -> None:
    text = _result()._repr_html_()
    assert "<caption>PASS demo seed 7</caption>" in text
    assert "<td>ok</td><td>safe</td><td>no violation</td><td>x &lt; y &amp; z</td>" in text
    assert text.endswith("<p>replay: <code>qcore sim run demo --seed 7</code></p>")


def test_a_failed_result_shows_its_first_violations() -> None:
    violations = [Violation("one_leader", 0, 1_500, f"<note {number}>") for number in range(12)]
    text = _result(*violations)._repr_html_()
    assert "<caption>FAIL demo seed 7</caption>" in text
    assert "<td>one_leader</td><td></td><td>1.500</td><td>&lt;note 0&gt;</td>" in text
    assert "<note" not in text
    assert "<p>2 more rows</p>" in text


def test_a_verdict_shows_the_operations_that_do_not_fit() -> None:
    write = Operation(1, 1, "x", "write", "<b>", None, 0, 10)
    stale = Operation(2, 1, "x", "read", None, None, 20, 30)
    assert check_history([write])._repr_html_() == "<p>ok: 1 operation</p>"
    text = check_history([write, stale])._repr_html_()
    assert "<b>violation: 2 operations, register" in text
    assert "<td>cannot come next</td>" in text
    assert "&lt;b&gt;" in text


def test_a_scenario_shows_its_file() -> None:
    scenario = Scenario().with_({"summary": "1 < 2"})
    text = scenario._repr_html_()
    assert text.startswith("<pre>name: scenario\n")
    assert "1 &lt; 2" in text
