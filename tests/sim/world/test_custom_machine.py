"""Custom state machines in the simulator: the README's example, and machines that break the contract."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from random import Random
from runpy import run_path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from qcore.errors import ConfigError, StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.sim import RunResult, load_scenario, run_scenario
from tests.checkout import EXAMPLES
from tests.sim.support.scenario_texts import failures, scenario, seen

if TYPE_CHECKING:
    from qcore.machines.interface import StateMachine

EXAMPLE = EXAMPLES / "counter_machine.py"
FAULTS = "[{at_ms: 1000, crash: leader, for_ms: 400}, {at_ms: 2000, isolate: leader, for_ms: 400}]"


def increment_or_read(rng: Random) -> tuple[Literal["write", "read"], str]:
    if rng.random() < 0.3:
        return "read", "visits"
    return "write", json.dumps({"name": "visits", "by": rng.randrange(1, 5)})


def test_the_readme_machine_works_under_faults() -> None:
    # Any: the example is loaded as a script, by its path.
    machine: Any = run_path(str(EXAMPLE))["CounterMachine"]
    spec = scenario(
        FAULTS,
        "{safe: true, converges: true, acknowledged_writes_present: true, min_ok_writes: 20,"
        " min_ok_reads: 5}",
        until_ms=4000,
    )
    one = run_scenario(spec, 3, machine=machine, requests=increment_or_read)
    assert one.ok, failures(one)
    assert one == run_scenario(spec, 3, machine=machine, requests=increment_or_read)


class NotDeterministic(RegisterMachine):
    """Breaks the contract: its state differs from replica to replica."""

    _numbers = count()

    def __init__(self) -> None:
        super().__init__()
        self._number = next(self._numbers)

    def apply(self, command: str, context: ApplyContext) -> str:
        return super().apply(command.replace("visits", f"visits{self._number}"), context)


class Raising(RegisterMachine):
    """Breaks the contract: `apply` raises."""

    def apply(self, command: str, context: ApplyContext) -> str:
        if context.index > 12:
            raise ValueError("thirteen is too many")
        return super().apply(command, context)


def set_visits(rng: Random) -> tuple[Literal["write", "read"], str]:
    value = rng.randrange(100)
    return "write", json.dumps({"op": "set", "key": "visits", "value": value})


@pytest.mark.parametrize(
    ("machine", "check"), [(NotDeterministic, "state_hash"), (Raising, "node_failed")]
)
def test_a_machine_that_breaks_the_rules_is_caught(machine: type[StateMachine], check: str) -> None:
    result = run_scenario(scenario(), 1, machine=machine, requests=set_visits)
    assert not result.ok
    assert check in seen(result)["safe"]
    assert check in {violation.check for violation in result.violations}


def test_an_apply_error_loses_no_write_and_names_the_command() -> None:
    """The acknowledged writes are in the logs, although no node can apply the entry after them."""
    result = run_scenario(
        scenario("[]", "{acknowledged_writes_present: true}"),
        1,
        machine=Raising,
        requests=set_visits,
    )
    assert {violation.check for violation in result.violations} == {"node_failed"}
    assert seen(result)["acknowledged_writes_present"].startswith("all ")
    note = result.violations[0].note
    assert """applying entry 13, the command '{"op": "set", "key": "visits", "value": """ in note
    assert "raised ValueError: thirteen is too many" in note


class NoHash(RegisterMachine):
    """Breaks the contract: it has no state hash."""

    def state_hash(self) -> str:
        raise ValueError("no hash today")


def test_a_machine_that_cannot_hash_its_state_fails_the_run() -> None:
    result = run_scenario(
        scenario("[]", "{converges: true}"), 1, machine=NoHash, requests=set_visits
    )
    message = "state_hash() of the state machine 'register' raised ValueError: no hash today"
    assert message in result.violations[0].note
    assert "applying" not in result.violations[0].note
    assert [e.name for e in result.failed()] == ["safe", "converges"]
    # A run that is too short to compare hashes: at the end no node can give its state hash.
    short = run_scenario(
        scenario("[]", "{converges: true}", until_ms=100), 1, machine=NoHash, requests=set_visits
    )
    assert message in seen(short)["converges"]
    assert not short.ok


def test_machine_and_requests_must_be_given_together() -> None:
    with pytest.raises(ConfigError, match="its requests, or give a client program"):
        run_scenario(scenario(), 1, machine=RegisterMachine)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"workload": "{sessions: true}"},
            "workload.sessions adds to registers: it needs .* custom machine",
        ),
        ({"cluster": "{nodes: 3, machine: entity}"}, "two machines: .* cluster.machine entity"),
        (
            {"expect": "{linearizable: true}"},
            "expect.linearizable is judged by the values of registers",
        ),
        ({"timeline": "[{at_ms: 1000, read: leader}]"}, "read goes to a register"),
    ],
)
def test_scenario_parts_that_need_registers_are_rejected(
    parts: dict[str, str], message: str
) -> None:
    spec = scenario(**parts)  # type: ignore[arg-type]  # texts only
    with pytest.raises(ConfigError, match=message):
        run_scenario(spec, 1, machine=RegisterMachine, requests=set_visits)


def test_a_second_machine_beside_a_custom_one_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "test.yaml"
    path.write_text(NAMING_A_MACHINE.format(machine=f"{EXAMPLE}:CounterMachine"))
    with pytest.raises(ConfigError, match=r"two machines: .*CounterMachine, and the caller gives"):
        run_scenario(path, 1, machine=RegisterMachine, requests=set_visits)
    path.write_text(path.read_text().replace("converges: true", "linearizable: true"))
    with pytest.raises(
        ConfigError, match=r"expect\.linearizable is judged by the values of registers"
    ):
        run_scenario(path, 1)


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (RegisterMachine(), "is not a class but a RegisterMachine: each node makes"),
        (dict, "machine dict lacks name, versions, apply"),
        (lambda: 1 / 0, "making one raised ZeroDivisionError"),
    ],
)
def test_an_invalid_machine_is_rejected_before_the_run(machine: Any, message: str) -> None:
    """Any: the machines break the type on purpose."""
    with pytest.raises(ConfigError, match=message):
        run_scenario(scenario(), 1, machine=machine, requests=set_visits)


def test_a_seed_must_be_an_integer() -> None:
    seeds: list[Any] = ["1", 1.0, True, None]  # Any: the seeds break the type on purpose
    for seed in seeds:
        with pytest.raises(ConfigError, match="a seed is an integer, not"):
            run_scenario(scenario(), seed)


def test_requested_stale_reads_use_the_workloads_bound() -> None:
    def stale(_rng: Random) -> tuple[Literal["stale_read"], str]:
        return "stale_read", json.dumps({"op": "get", "key": "visits"})

    result = run_scenario(
        scenario("[]", "{min_ok_reads: 50}"), 1, machine=RegisterMachine, requests=stale
    )
    assert result.ok, failures(result)


def raises(_rng: Random) -> object:
    raise ValueError("no request left")


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        (raises, "requests: raises raised ValueError: no request left"),
        (lambda _rng: None, r"returned None; it must return \(.write., command\) or"),
        (lambda _rng: "write", r"returned 'write'; it must return"),
        (lambda _rng: ("write", "\ud800"), "which no client can send: it is no Unicode text"),
        (lambda _rng: ("write",), r"returned \('write',\); it must return"),
        (
            lambda _rng: ("write", {"name": "x"}),
            r"returned \('write', {'name': 'x'}\); .* is a text",
        ),
        (lambda _rng: ("wrote", "x"), r"returned \('wrote', 'x'\); it must return"),
        (7, "requests: 7 raised TypeError: 'int' object is not callable"),
    ],
)
def test_an_invalid_requests_function_is_rejected(requests: Any, message: str) -> None:
    """Any: the functions break the type on purpose."""
    with pytest.raises(ConfigError, match=message):
        run_scenario(scenario(), 1, machine=RegisterMachine, requests=requests)


def test_a_directed_write_needs_registers() -> None:
    with pytest.raises(ConfigError, match="goes to a register"):
        run_scenario(
            scenario("[{at_ms: 1000, write: leader}]"),
            1,
            machine=RegisterMachine,
            requests=increment_or_read,
        )


NAMING_A_MACHINE = """
cluster: {{nodes: 3, machine: {machine}}}
workload: {{requests: [{{write: '{{"name": "visits", "by": 1}}', weight: 3}}, {{read: visits}}]}}
timeline: [{{at_ms: 1000, isolate: leader, for_ms: 500}}]
until_ms: 2500
expect: {{converges: true, min_ok_writes: 20, min_ok_reads: 5}}
"""


def run_naming(tmp_path: Path, machine: str) -> RunResult:
    path = tmp_path / "test.yaml"
    path.write_text(NAMING_A_MACHINE.format(machine=machine))
    return run_scenario(path, 1)


def test_a_scenario_names_a_machine_by_file_or_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text())
    by_name = run_naming(tmp_path, "mine.py:CounterMachine")
    assert by_name.ok, failures(by_name)
    by_path = run_naming(tmp_path, f"{EXAMPLE}:CounterMachine")
    assert by_path == by_name
    assert run_naming(tmp_path, "qcore.machines.register:RegisterMachine").metrics[
        "committed_index"
    ]


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        ("none.py:Machine", "there is no file"),
        ("no_such_module:Machine", "there is no module no_such_module"),
        ("mine.py:Other", "has no class Other"),
        ("mine.py:Number", "lacks name, versions, apply, query"),
        ("mine.py:Fails", "making one raised ValueError: no"),
        ("broken.py:Machine", "importing it raised ZeroDivisionError"),
    ],
)
def test_an_unusable_machine_is_rejected(tmp_path: Path, machine: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(
        "class Number: pass\nclass Fails:\n    def __init__(self):\n        raise ValueError('no')\n"
    )
    (tmp_path / "broken.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=message):
        run_naming(tmp_path, machine)


def test_the_readme_scenario_passes() -> None:
    spec = load_scenario(EXAMPLE.parent / "counter_partition.yaml")
    for seed in (1, 2, 3):
        result = run_scenario(spec, seed)
        assert result.ok, failures(result)


def test_stale_reads_of_custom_machines_are_not_register_reads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "stale.yaml"
    text = NAMING_A_MACHINE.format(machine=f"{EXAMPLE}:CounterMachine")
    path.write_text(text.replace("workload: {", "workload: {read_kind: stale_read, "))
    result = run_scenario(path, 1)
    assert result.ok, failures(result)


class NoQueries(RegisterMachine):
    """Breaks the contract: `query` raises."""

    def query(self, query: str) -> str:
        raise ValueError(f"what is {query}?")


class NoResults(RegisterMachine):
    """Breaks the contract: a result is not a text."""

    def apply(
        self, command: str, context: ApplyContext
    ) -> Any:  # Any: not what the protocol message
        super().apply(command, context)
        return None


@pytest.mark.parametrize(
    ("machine", "kind", "code"),
    [(NoQueries, "reads", "StoreError"), (NoResults, "writes", "ResultInvalid")],
)
def test_a_run_fails_if_all_requests_of_one_kind_get_errors(
    machine: type[StateMachine], kind: str, code: str
) -> None:
    def requests(rng: Random) -> tuple[Literal["write", "read"], str]:
        return (
            ("read", "visits") if machine is NoQueries and rng.random() < 0.3 else set_visits(rng)
        )

    spec = scenario("[]", until_ms=2000)
    result = run_scenario(spec, 1, machine=machine, requests=requests)
    contract = [each.note for each in result.violations if each.check == "machine_contract"]
    assert [each.name for each in result.failed()] == [
        *(["safe"] if contract else []),
        "work_done",
    ]
    (note,) = contract
    assert (
        "at index 4 is invalid: it is no text but of the type NoneType" in note
        if machine is NoResults
        else "the query 'visits' raised ValueError: what is visits?; a query that it cannot" in note
    )
    shown = seen(result)["work_done"].split(";")[0]
    number = shown.split()[-1]
    assert shown == f"{kind}: only errors: {number} {code} of {number}"


@pytest.mark.parametrize("error", [KeyError, StoreError])
def test_a_query_may_raise_only_store_errors(error: type[Exception]) -> None:
    class Raises(RegisterMachine):
        def query(self, query: str) -> str:
            if query == "alan":
                raise error(query)
            return super().query(query)

    def requests(rng: Random) -> tuple[Literal["write", "read"], str]:
        read = rng.choice(["alan", json.dumps({"op": "get", "key": "visits"})])
        return ("read", read) if rng.random() < 0.5 else set_visits(rng)

    result = run_scenario(scenario("[]", until_ms=2000), machine=Raises, requests=requests)
    notes = [each.note for each in result.violations if each.check == "machine_contract"]
    wanted = (
        "the query 'alan' raised KeyError: 'alan'; a query that it cannot answer raises StoreError, "
        "and clients get its text"
    )
    assert notes == ([wanted] if error is KeyError else [])
    assert result.ok == (error is StoreError)


def test_a_second_machine_beside_a_built_in_one_is_rejected() -> None:
    spec = scenario("[]", until_ms=500)
    named = spec.model_copy(
        update={"cluster": spec.cluster.model_copy(update={"machine": "register"})}
    )
    with pytest.raises(ConfigError, match="two machines"):
        run_scenario(named, 1, machine=NoResults, requests=set_visits)
