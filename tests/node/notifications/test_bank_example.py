"""The bank of the examples: its promises and refusals, on a real node, and in the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from qcore.machines import ApplyContext, StateMachine, SupportsChanges, load_machine
from qcore.node.application import TextApplication
from qcore.sim import load_scenario, run_scenario
from qcore.testing.conformance.state_machine_conformance import StateMachineConformance
from tests.checkout import EXAMPLES
from tests.examples import load_example
from tests.node.test_node import running
from tests.sim.support.scenario_texts import failures
from tests.transport.support.endpoints import async_test

BANK = load_example("bank/bank")


def command(do: str, **fields: object) -> str:
    return json.dumps({"do": do, **fields})


def transfer(payer: str, payee: str, amount: object) -> str:
    return command("transfer", **{"from": payer, "to": payee}, amount=amount)


NAMES = st.sampled_from(["a", "b", "c", "all accounts"])
AMOUNTS = st.integers(-1, 9) | st.sampled_from([True, 1.5, "3", None, 10**12, 10**12 + 1])
COMMANDS = st.one_of(
    st.builds(lambda name: command("open", account=name), NAMES | st.just("")),
    st.builds(
        lambda do, name, amount: command(do, account=name, amount=amount),
        st.sampled_from(["deposit", "withdraw"]),
        NAMES,
        AMOUNTS,
    ),
    st.builds(transfer, NAMES, NAMES, AMOUNTS),
    st.sampled_from(["nonsense", "[]", '{"do": "rob"}', '{"do": "open"}', command("audit")]),
)


class TestBank(StateMachineConformance):
    examples = 10

    def make(self) -> StateMachine:
        machine: StateMachine = BANK.BankMachine()
        return machine

    def commands(self) -> st.SearchStrategy[str]:
        return COMMANDS

    def queries(self) -> Sequence[str]:
        return ["a", "b", "c", "all accounts", "d", ""]


class Bank:
    """A bank that reads its results."""

    def __init__(self) -> None:
        self.machine = BANK.BankMachine()
        self.index = 0

    def apply(self, text: str) -> Any:
        self.index += 1
        return json.loads(self.machine.apply(text, ApplyContext(self.index, 0)))

    def balance(self, account: str) -> Any:
        return json.loads(self.machine.query(account))


def test_commands_change_balances_and_report_them() -> None:
    bank = Bank()
    assert bank.apply(command("open", account="ann")) == {"ok": {"ann": 0}}
    assert bank.apply(command("open", account="bob")) == {"ok": {"bob": 0}}
    assert bank.apply(command("deposit", account="ann", amount=70)) == {"ok": {"ann": 70}}
    assert bank.apply(transfer("ann", "bob", 30)) == {"ok": {"ann": 40, "bob": 30}}
    assert bank.apply(command("withdraw", account="bob", amount=30)) == {"ok": {"bob": 0}}
    assert bank.apply(command("audit")) == {"ok": {}}
    assert [bank.balance(name) for name in ("ann", "bob", "eve", "")] == [40, 0, None, 40]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (command("open", account="ann"), "exists already"),
        (command("open", account=""), "cannot have the name ''"),
        (command("deposit", account="eve", amount=1), "there is no account 'eve'"),
        (command("deposit", account="ann", amount=0), "an amount is an integer from 1 to"),
        (command("deposit", account="ann", amount=True), "an amount is an integer from 1 to"),
        (command("deposit", account="ann", amount=10**12 + 1), "an amount is an integer from 1"),
        (command("withdraw", account="ann", amount=11), "'ann' has 10, which is less than 11"),
        (transfer("ann", "bob", 11), "'ann' has 10, which is less than 11"),
        (transfer("ann", "eve", 1), "there is no account 'eve'"),
        (transfer("ann", "ann", 1), "a transfer needs two accounts"),
        (command("rob"), "do must be open, deposit"),
        ("nonsense", "bad command"),
    ],
)
def test_a_refused_command_changes_nothing(text: str, reason: str) -> None:
    bank = Bank()
    for name in ("ann", "bob"):
        bank.apply(command("open", account=name))
    bank.apply(command("deposit", account="ann", amount=10))
    before = bank.machine.state_hash()
    assert reason in bank.apply(text)["refused"]
    assert bank.machine.state_hash() == before
    assert list(bank.machine.last_changes()) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(COMMANDS, max_size=40))
def test_the_total_is_what_was_paid_in(commands: list[str]) -> None:
    """The expected total comes from the results alone. An audit passes after every command."""
    bank = Bank()
    total = 0
    for text in commands:
        if "ok" in bank.apply(text):
            request = json.loads(text)
            sign = {"deposit": 1, "withdraw": -1}.get(request["do"], 0)
            total += sign * request.get("amount", 0)
        assert sum(bank.machine.balances.values()) == bank.balance("") == total
        assert bank.apply(command("audit")) == {"ok": {}}


def test_watched_names_are_the_account_and_all_accounts() -> None:
    bank = Bank()
    assert isinstance(bank.machine, SupportsChanges)
    for name in ("ann", "all accounts"):
        bank.apply(command("open", account=name))
    assert [change.topics for change in bank.machine.last_changes()] == [("all accounts",)]
    bank.apply(command("deposit", account="ann", amount=3))
    bank.apply(transfer("ann", "all accounts", 1))
    topics = [change.topics for change in bank.machine.last_changes()]
    assert topics == [("ann", "all accounts"), ("all accounts",)]


@async_test
async def test_clients_of_a_real_node_watch_the_example(tmp_path: Path) -> None:
    make = load_machine("bank.py:BankMachine", EXAMPLES / "bank")
    async with (
        running(tmp_path, TextApplication(make())) as world,
        connect(f"ws://{world.address}", proxy=None) as ws,
    ):
        tokens: dict[str, str] = {}
        for topic in ("bob", "all accounts"):
            await ws.send(json.dumps({"WatchChanges": {"id": topic, "topic": topic}}))
            answer = json.loads(await ws.recv())["WatchChangesResponse"]
            tokens[answer["response"]["Ok"]] = topic
        for text in (
            command("open", account="ann"),
            command("open", account="bob"),
            command("deposit", account="ann", amount=12),
            transfer("ann", "bob", 5),
            transfer("ann", "bob", 50),  # refused
            transfer("ann", "bob", 7),
        ):
            await ws.send(json.dumps({"Perform": {"id": "w", "request": {"Write": text}}}))
        seen: dict[str, list[tuple[int, str, int]]] = {"bob": [], "all accounts": []}
        async with asyncio.timeout(10):
            while sum(map(len, seen.values())) < 10:
                envelope = json.loads(await ws.recv())
                if "ChangeNotification" in envelope:
                    notice = envelope["ChangeNotification"]
                    change = notice["change"]
                    place = (notice["sequence"], change["account"], change["balance"])
                    seen[tokens[notice["token"]]].append(place)
    assert seen["bob"] == [(0, "bob", 0), (1, "bob", 5), (1, "bob", 12)]
    assert seen["all accounts"] == [
        *[(0, "ann", 0), (0, "bob", 0), (0, "ann", 12)],
        *[(0, "ann", 7), (1, "bob", 5), (0, "ann", 0), (1, "bob", 12)],
    ]


def test_the_bank_survives_the_faults_of_its_scenario() -> None:
    result = run_scenario(load_scenario(EXAMPLES / "bank/bank_partition.yaml"), 2)
    assert result.ok, failures(result)


def test_the_scenario_finds_a_bank_that_loses_money(tmp_path: Path) -> None:
    text = (EXAMPLES / "bank/bank.py").read_text()
    right = "{payer: self.reduced(payer, amount), payee: self.balance(payee) + amount}"
    assert right in text
    (tmp_path / "bank.py").write_text(
        text.replace(right, right.replace("+ amount", "+ amount - 1"))
    )
    (tmp_path / "s.yaml").write_text((EXAMPLES / "bank/bank_partition.yaml").read_text())
    result = run_scenario(load_scenario(tmp_path / "s.yaml"), 2)
    assert not result.ok
    assert {violation.check for violation in result.violations} == {"node_failed"}
    assert any("the accounts hold" in violation.note for violation in result.violations)
