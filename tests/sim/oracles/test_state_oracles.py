"""Invariants and properties are asked about the states of all nodes; a failure is reported once, with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcore.errors import ConfigError
from qcore.machines.interface import ApplyContext
from qcore.sim import RunResult, run_scenario
from qcore.sim.oracles import Oracles, Property, always, eventually, sometimes
from tests.sim.support.counter_store import CounterStore, draw_request
from tests.sim.support.scenario_texts import failures, scenario, seen

SHORT = scenario("[{at_ms: 600, crash: leader, for_ms: 200}]", until_ms=1400)


def judged(oracles: Oracles, machine: Callable[[], Any] = CounterStore) -> RunResult:
    return run_scenario(SHORT, 1, machine=machine, requests=draw_request, oracles=oracles)


def small(state: CounterStore) -> bool:
    return all(number < 4 for number in state.numbers.values())


def text_if_large(state: CounterStore) -> str | None:
    large = [key for key, number in state.numbers.items() if number >= 4]
    return f"{large[0]} is too large" if large else None


def assert_small(state: CounterStore) -> None:
    assert small(state), f"too large: {max(state.numbers.values())}"


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (small, "it returned False"),
        (text_if_large, " is too large"),
        (assert_small, "too large: "),
    ],
)
def test_a_failed_invariant_names_node_index_command(
    function: Callable[..., object], problem: str
) -> None:
    result = judged(Oracles(invariant=function))
    (violation,) = result.violations  # although every later state of every node fails, too
    assert violation.check == "invariant"
    first, *_, where, state = violation.note.split(
        "\n"
    )  # pytest explains its assertions in more lines
    assert problem in first
    assert f"after node {violation.node} applied entry " in where
    assert "the command '[\"" in where
    number = max(json.loads(state.removeprefix("its state: ")).values())
    assert number >= 4
    assert not result.ok
    assert seen(result)["safe"] == "violated: invariant"
    assert seen(result)["invariant"].startswith("not in state ")


def test_an_invariant_that_holds_was_asked_at_each_node() -> None:
    states: dict[int, set[str]] = {}

    def invariant(state: CounterStore) -> bool:
        states.setdefault(id(state), set()).add(state.state_hash())
        return True

    result = judged(Oracles(invariant=invariant))
    assert result.ok, failures(result)
    assert len(states) == 4  # three nodes, one of which has two lives
    assert all(len(seen_by_one) > 5 for seen_by_one in states.values())
    assert seen(result)["invariant"].endswith(" states")


def test_a_violated_invariant_may_be_what_the_scenario_expects() -> None:
    spec = SHORT.model_copy(update={"expect": {"violation": "invariant"}})
    result = run_scenario(
        spec, 1, machine=CounterStore, requests=draw_request, oracles=Oracles(invariant=small)
    )
    assert result.ok, failures(result)


class BadRestore(CounterStore):
    """A restore breaks the invariant, and no later entry repairs it."""

    def restore(self, chunks: Any) -> None:
        super().restore(chunks)
        self.numbers["restored"] = -1


def test_a_restored_state_is_checked_before_the_next_entry() -> None:
    spec = scenario(
        "[{at_ms: 500, crash: follower_1}, {at_ms: 900, snapshot: leader}, {at_ms: 1000, restart: down}]",
        until_ms=1500,
    )
    result = run_scenario(
        spec,
        1,
        machine=BadRestore,
        requests=draw_request,
        oracles=Oracles(invariant=lambda state: "restored" not in state.numbers),
    )
    notes = [each.note for each in result.violations if each.check == "invariant"]
    assert len(notes) == 1
    assert "restored a snapshot; the last entry that it had applied before was " in notes[0]


def raises(state: CounterStore) -> bool:
    return state.no_such_attribute  # type: ignore[attr-defined, no-any-return]  # the fault under test


@pytest.mark.parametrize(
    ("oracles", "row", "message"),
    [
        (Oracles(invariant=raises), "invariant", "raised AttributeError: 'CounterStore' object"),
        (Oracles(invariant=lambda _: 7), "invariant", "invariant returned 7: return True if it"),
        (Oracles(properties=[always(raises)]), "always: raises", "raises raised AttributeError"),
        (Oracles(properties=[sometimes(raises)]), "sometimes: raises", "raises raised Attribute"),
        (
            Oracles(properties=[sometimes(assert_small)]),
            "sometimes: assert_small",
            "assert_small returned None: a property of kind sometimes returns True or False",
        ),
        (
            Oracles(properties=[eventually(raises)]),
            "eventually: raises",
            "asked about node 1",
        ),
        (Oracles(check=lambda _: 1 / 0), "check", "check raised ZeroDivisionError"),
        (Oracles(check=lambda _: [7]), "check", "check returned 7 in its list: return texts"),
    ],
)
def test_an_error_of_a_function_is_not_a_violation(
    oracles: Oracles, row: str, message: str
) -> None:
    """The run fails, and says that the function is broken; no violation of the machine is claimed."""
    result = judged(oracles)
    assert result.violations == ()
    assert [each.name for each in result.failed()] == [row]
    assert message in seen(result)[row]


def test_the_place_of_an_error_is_named() -> None:
    assert "(test_state_oracles.py:" in seen(judged(Oracles(invariant=raises)))["invariant"]


@always
def never_above_three(state: CounterStore) -> bool:
    return small(state)


@sometimes
def reaches_ten(state: CounterStore) -> bool:
    return any(number >= 10 for number in state.numbers.values())


@sometimes
def reaches_a_thousand(state: CounterStore) -> bool:
    return any(number >= 1000 for number in state.numbers.values())


@eventually
def has_keys(state: CounterStore) -> None:
    assert state.numbers


@eventually
def has_a_hundred_keys(state: CounterStore) -> str:
    return "" if len(state.numbers) >= 100 else f"it has {len(state.numbers)} keys"


@pytest.mark.parametrize(
    ("one", "ok", "text"),
    [
        (reaches_ten, True, "at node "),
        (reaches_a_thousand, False, "never seen in "),
        (has_keys, True, "on nodes 1, 2, 3"),
        (has_a_hundred_keys, False, "not on node 1: it has 4 keys; not on node 2: it has 4 keys"),
    ],
)
def test_sometimes_and_eventually_can_hold_and_fail(one: Property, ok: bool, text: str) -> None:
    result = judged(Oracles(properties=[one]))
    assert text in seen(result)[f"{one.kind}: {one.name}"]
    assert result.ok is ok
    assert result.violations == ()


def test_always_is_a_violation_with_the_name_of_the_function() -> None:
    result = judged(Oracles(properties=[never_above_three]))
    (violation,) = result.violations
    assert violation.check == "always"
    assert violation.note.startswith("never_above_three: it returned False\nafter node ")


def test_eventually_fails_if_no_member_runs() -> None:
    spec = scenario("[{at_ms: 1000, crash: all}]", until_ms=1500)
    result = run_scenario(
        spec,
        1,
        machine=CounterStore,
        requests=draw_request,
        oracles=Oracles(properties=[has_keys]),
    )
    assert seen(result)["eventually: has_keys"] == "no member runs"


def test_a_property_is_called_like_its_function() -> None:
    machine = CounterStore()
    machine.apply('["add", "a", 3]', ApplyContext(1, 0))
    assert never_above_three(machine) is True
    assert (never_above_three.kind, never_above_three.name) == ("always", "never_above_three")
    with pytest.raises(TypeError, match="already a property of kind always: use one of them"):
        sometimes(never_above_three)


async def asynchronous(_state: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("oracles", "message"),
    [
        ({"invariant": 7}, r"invariant is 7 and not a function: write `def invariant\(state\)`"),
        ({"invariant": asynchronous}, "invariant is `async`"),
        ({"check": lambda: None}, r"check cannot be called: .*; write `def check\(history\)`"),
        ({"properties": [small]}, "is no property: put @always"),
        ({"properties": [always(lambda: True)]}, "cannot be called"),
        ({"model": 3}, "Model is 3 and not a class"),
        ({"budget": 0}, "the budget of a search is a number of steps from 1 on, not 0"),
    ],
)
def test_an_unusable_oracle_is_rejected_before_the_run(oracles: Any, message: str) -> None:
    """Any: the oracles break the types on purpose."""
    with pytest.raises(ConfigError, match=message):
        judged(Oracles(**oracles))


def test_the_oracles_of_a_built_in_machine_are_asked() -> None:
    def never_written(state: Any) -> bool:
        return json.loads(state.query('{"op": "get", "key": "k0"}'))["value"] is None

    result = run_scenario(scenario(until_ms=1500), 1, oracles=Oracles(invariant=never_written))
    assert [each.check for each in result.violations] == ["invariant"]


MACHINE_FILE = """
from tests.sim.support.counter_store import CounterStore
from qcore.sim.oracles import always, eventually, sometimes

class Store(CounterStore):
    pass

def invariant(store):
    assert len(store.numbers) < 3

@always
def no_key_is_empty(store):
    return all(store.numbers)

@sometimes
def one_key(store):
    return len(store.numbers) == 1

@eventually
def some_key(store):
    return len(store.numbers) > 0

def check(history):
    return [str(record) for record in history if record.kind == "read"][:1]

class Model:
    def initial(self):
        return {}
    def step(self, state, request, answer):
        return (request.kind == "write" or answer is None or answer.isdigit()), state
"""

SCENARIO_FILE = """
cluster: {nodes: 3, machine: "store.py:Store"}
workload:
  clients: 2
  rate_per_s: 60
  requests:
    - {write: '["add", "a", 1]'}
    - {write: '["add", "b", 1]'}
    - {write: '["add", "c", 1]'}
    - {read: a}
until_ms: 1500
"""


def test_the_oracles_of_a_machines_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(MACHINE_FILE)
    (tmp_path / "store.yaml").write_text(SCENARIO_FILE)
    result = run_scenario(tmp_path / "store.yaml", 1)
    rows = {row.name: row.ok for row in result.expectations}
    wanted = {
        "safe": False,
        "invariant": False,
        "always: no_key_is_empty": True,
        "sometimes: one_key": True,
        "eventually: some_key": True,
        "check": False,
        "model": True,
    }
    assert wanted.items() <= rows.items()
    invariant, check = result.violations
    assert "`assert len(store.numbers) < 3` does not hold (store.py:9)" in invariant.note
    assert check.check == "check"
    assert check.note.startswith("client ")
    given = run_scenario(tmp_path / "store.yaml", 1, oracles=Oracles(invariant=lambda _: True))
    assert [each.check for each in given.violations] == ["check"]  # the one given in Python counts


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def invariant(store)", "def invariant()", "invariant cannot be called"),
        ("class Model", "class Model(Store)", "the Model inherits from the machine Store"),
        ("def initial(self)", "def first(self)", "has no method initial: write `def initial"),
        ("state, request, answer):", "state, request):", "Model.step cannot be called"),
        ("return {}", "return Store()", "Model.initial returns a Store: the machine cannot be"),
        ("return {}", "return 1 / 0", "Model.initial raised ZeroDivisionError"),
    ],
)
def test_an_unusable_file_of_a_machine_is_rejected(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in MACHINE_FILE
    (tmp_path / "store.py").write_text(MACHINE_FILE.replace(old, new))
    (tmp_path / "store.yaml").write_text(SCENARIO_FILE)
    with pytest.raises(ConfigError, match=message):
        run_scenario(tmp_path / "store.yaml", 1)
