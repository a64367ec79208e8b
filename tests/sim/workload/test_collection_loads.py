"""Loads on sets and lists: correct ones pass, and each planted fault of a machine or of Raft is caught."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from qcore.errors import ConfigError, StoreError
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.sim import run_scenario
from qcore.sim.workload.collections.collections_machine import CollectionsMachine
from tests.sim.support.scenario_texts import failures, run, scenario, seen

SET = "{kind: set, clients: 3, rate_per_s: 80, keys: 2, timeout_ms: 500}"
LISTS = SET.replace("kind: set", "kind: append")
Insert = Callable[[CollectionsMachine, str, list[str], str], None]


def insert_unless_seventh(
    _machine: CollectionsMachine, _kind: str, elements: list[str], element: str
) -> None:
    """A machine that acknowledges every seventh element of a client, and loses it."""
    if int(element) % 7:
        elements.append(element)


def insert_in_front(
    _machine: CollectionsMachine, _kind: str, elements: list[str], element: str
) -> None:
    elements.insert(0, element)


def insert_twice(
    _machine: CollectionsMachine, _kind: str, elements: list[str], element: str
) -> None:
    elements += [element, element] if int(element) % 7 == 0 else [element]


def insert_and_hide(
    _machine: CollectionsMachine, _kind: str, elements: list[str], element: str
) -> None:
    """An element that later reads lack, until it reappears with another one."""
    hidden = [each for each in elements if each.endswith("5")]
    elements[:] = [each for each in elements if each not in hidden]
    elements.append(element)
    if element.endswith("9"):
        elements += hidden


def insert_invented(
    _machine: CollectionsMachine, _kind: str, elements: list[str], element: str
) -> None:
    elements.append(element)
    if element.endswith("3"):
        elements.append(str(-int(element)))


@pytest.mark.parametrize(
    ("workload", "check", "insert", "note"),
    [
        (SET, "set_elements", insert_unless_seventh, "which was acknowledged before the read"),
        (SET, "set_elements", insert_and_hide, "lacks"),
        (SET, "set_elements", insert_invented, "which no client added"),
        (LISTS, "append_order", insert_unless_seventh, "which was acknowledged before the read"),
        (LISTS, "append_order", insert_in_front, "the reads contradict each other"),
        (LISTS, "append_order", insert_twice, "twice"),
        (LISTS, "append_order", insert_invented, "which no client added"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_faulty_machine_is_caught(
    monkeypatch: pytest.MonkeyPatch, workload: str, check: str, insert: Insert, note: str
) -> None:
    """All nodes have the same fault, so only the checker can see it."""
    monkeypatch.setattr(CollectionsMachine, "insert", insert)
    result = run("[]", f"{{violation: {check}}}", workload=workload, until_ms="2000")
    assert result.ok, failures(result)
    (violation,) = result.violations
    assert violation.check == check
    assert note in violation.note
    assert violation.note.startswith("k")


@pytest.mark.parametrize(("workload", "check"), [(SET, "set_elements"), (LISTS, "append_order")])
def test_the_verdict_of_a_run_depends_on_the_checker(
    monkeypatch: pytest.MonkeyPatch, workload: str, check: str
) -> None:
    correct = run(workload=workload, until_ms="2000")
    assert correct.ok, failures(correct)
    assert "acknowledged elements" in seen(correct)[check]
    monkeypatch.setattr(CollectionsMachine, "insert", insert_unless_seventh)
    wrong = run(workload=workload, until_ms="2000")
    assert {each.name for each in wrong.failed()} == {"safe", check}


@pytest.mark.parametrize(("kind", "check"), [("set", "set_elements"), ("append", "append_order")])
def test_a_read_from_an_expired_lease_is_caught(kind: str, check: str) -> None:
    """The clock of the cut-off leader is slow. Pinned clients still read from it while another leader adds elements."""
    cluster = "{nodes: 3, lease_reads: true}"
    workload = f"{{kind: {kind}, clients: 6, rate_per_s: 120, keys: 2, read_kind: lease_read, pin: [1, 2, 3]}}"
    cut = "{transfer: {to: 1}, at_ms: 500}, {at_ms: 1500, partition: [[1], [2, 3]]}"
    slow = "{at_ms: 1500, clock: {nodes: 1, drift_ppm: -900000}}"
    guarded = run(f"[{cut}]", cluster=cluster, workload=workload)
    assert guarded.ok, failures(guarded)
    expect = f"{{violation: {check}}}"
    result = run(f"[{cut}, {slow}]", expect, cluster=cluster, workload=workload)
    assert result.ok, failures(result)
    assert "the lease read" in result.violations[0].note


def test_a_stale_read_of_a_set_is_no_violation() -> None:
    workload = SET[:-1] + ", read_kind: [stale_read, follower_read], pin: [1, 2, 3]}"
    result = run("[{at_ms: 800, partition: [[follower_1], [rest]]}]", workload=workload)
    assert result.ok, failures(result)
    assert "acknowledged elements" in seen(result)["set_elements"]


def test_the_final_state_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client reads, so only the final state shows the lost elements."""
    monkeypatch.setattr(CollectionsMachine, "insert", insert_unless_seventh)
    result = run(
        "[]",
        "{violation: set_elements}",
        workload=SET[:-1] + ", read_fraction: 0}",
        until_ms="2000",
    )
    assert result.ok, failures(result)
    assert "the final state of node" in result.violations[0].note


def test_the_machine_keeps_sets_and_lists_apart() -> None:
    machine = CollectionsMachine()
    for number, op in enumerate(["add", "add", "append", "append"], 1):
        command = json.dumps({"op": op, "key": "k", "element": [1, "a"]})
        machine.apply(command, ApplyContext(number, 0))
    assert machine.query('{"op": "get_set", "key": "k"}') == '{"elements":[[1, "a"]]}'
    assert machine.query('{"op": "get_list", "key": "k"}') == '{"elements":[[1, "a"],[1, "a"]]}'
    copy = CollectionsMachine()
    copy.restore("".join(machine.snapshot()))
    assert copy.state_hash() == machine.state_hash() != CollectionsMachine().state_hash()


def test_the_machine_answers_bad_requests_with_errors() -> None:
    machine = CollectionsMachine()
    for command in (
        "{",
        "[]",
        '{"op": "add"}',
        '{"op": "add", "key": "k"}',
        '{"op": "x", "key": "k"}',
    ):
        assert "error" in json.loads(machine.apply(command, ApplyContext(1, 0)))
        with pytest.raises(StoreError):
            machine.query(command)
    with pytest.raises(StoreError, match="not a snapshot"):
        machine.restore(["{}\n"])
    assert machine.state_hash() == CollectionsMachine().state_hash()


@pytest.mark.parametrize(
    ("workload", "parts", "text"),
    [
        ("{kind: bag}", {}, "workload.kind"),
        ("{kind: set, sessions: true}", {}, "kind: set and sessions are two kinds of load"),
        ("{kind: set, cas_fraction: 0.1}", {}, "cas_fraction belongs to registers"),
        ("{kind: set, watchers: 1}", {}, "workload.watchers watch registers"),
        ("{kind: set}", {"cluster": "{nodes: 3, machine: register}"}, "leave out cluster.machine"),
        (
            "{kind: set}",
            {"timeline": "[{at_ms: 5, read: leader}]"},
            r"timeline\[0\]: read goes to a",
        ),
        (
            "{kind: append}",
            {"expect": "{linearizable: true}"},
            "expect.linearizable judges registers",
        ),
        ("{}", {"expect": "{violation: append_order}"}, "is found with workload.kind: append"),
    ],
)
def test_what_needs_registers_is_rejected(workload: str, parts: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        scenario(workload=workload, **parts)  # type: ignore[arg-type]  # all of them are texts


def test_a_custom_machine_has_no_sets() -> None:
    with pytest.raises(
        ConfigError, match=r"workload\.kind: set goes with a separate state machine"
    ):
        run_scenario(
            scenario(workload="{kind: set}"),
            machine=RegisterMachine,
            requests=lambda _rng: ("write", "{}"),
        )
