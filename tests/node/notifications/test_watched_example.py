"""The example of a state machine that can be watched: its promises, on a real node, and in the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

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

AccountMachine = load_example("watched_accounts").AccountMachine


def transfer(payer: str, payee: str, amount: int) -> str:
    return json.dumps({"from": payer, "to": payee, "amount": amount})


class TestAccountMachine(StateMachineConformance):
    examples = 10

    def make(self) -> StateMachine:
        machine: StateMachine = AccountMachine()
        return machine

    def commands(self) -> st.SearchStrategy[str]:
        names = st.sampled_from("abc")
        return st.builds(transfer, names, names, st.integers(-3, 3)) | st.just("nonsense")

    def queries(self) -> Sequence[str]:
        return ["a", "b", "c", "d"]


def test_a_failed_command_changes_nothing() -> None:
    machine = AccountMachine()
    assert isinstance(AccountMachine(), SupportsChanges)
    machine.apply(transfer("ann", "ann", 1), ApplyContext(1, 0))
    assert [change.topics for change in machine.last_changes()] == [("ann", "all accounts")] * 2
    assert machine.apply('{"from": "ann"}', ApplyContext(2, 0)).startswith("bad command")
    assert list(machine.last_changes()) == []


@async_test
async def test_clients_of_a_real_node_watch_the_example(tmp_path: Path) -> None:
    make = load_machine("watched_accounts.py:AccountMachine", EXAMPLES)
    async with (
        running(tmp_path, TextApplication(make())) as world,
        connect(f"ws://{world.address}", proxy=None) as ws,
    ):
        tokens: dict[str, str] = {}
        for topic in ("bob", "all accounts"):
            await ws.send(json.dumps({"WatchChanges": {"id": topic, "topic": topic}}))
            answer = json.loads(await ws.recv())["WatchChangesResponse"]
            tokens[answer["response"]["Ok"]] = topic
        for amount in (5, 7):
            command = transfer("ann", "bob", amount)
            await ws.send(json.dumps({"Perform": {"id": "w", "request": {"Write": command}}}))
        seen: dict[str, list[tuple[int, str, int]]] = {"bob": [], "all accounts": []}
        async with asyncio.timeout(10):
            while sum(map(len, seen.values())) < 6:
                envelope = json.loads(await ws.recv())
                if "ChangeNotification" in envelope:
                    notice = envelope["ChangeNotification"]
                    change = notice["change"]
                    place = (notice["sequence"], change["account"], change["balance"])
                    seen[tokens[notice["token"]]].append(place)
    assert seen["bob"] == [(1, "bob", 5), (1, "bob", 12)]
    assert seen["all accounts"] == [(0, "ann", -5), (1, "bob", 5), (0, "ann", -12), (1, "bob", 12)]


def test_watchers_in_the_simulator_see_all_of_the_example() -> None:
    result = run_scenario(load_scenario(EXAMPLES / "watched_accounts.yaml"), 2)
    assert result.ok, failures(result)
