"""The default chaos with whole nodes: it passes, and it finds bugs in connections that no run of replicas can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qcore.client import attempts
from qcore.client.attempts import try_perform
from qcore.client.methods import method_base
from qcore.client.programs.register_program import registers
from qcore.errors import DeadlineExceeded, OutcomeUnknown, RequestNotReceived, TransportError
from qcore.sim import Scenario, load_scenario, run_scenario
from qcore.sim.scenario.generated.random_scenario import random_scenario
from qcore.transport.connection.client_connection import ClientConnection
from tests.checkout import SCENARIOS
from tests.sim.support.scenario_texts import failures

Patch = pytest.MonkeyPatch
CHAOS = load_scenario(SCENARIOS / "chaos.yaml").with_(fidelity="node")


def matches_answers_by_their_order(patch: Patch) -> None:
    """A client takes each answer for that to its oldest request, whatever id the answer has."""
    received = ClientConnection.received

    def take(connection: ClientConnection, envelope: object) -> bool:
        if isinstance(envelope, dict):
            for content in envelope.values():
                if isinstance(content, dict) and content.get("id") in connection._waiting:
                    waiting = connection._waiting.items()
                    content["id"] = next(key for key, each in waiting if not each.response.done())
        return received(connection, envelope)

    patch.setattr(ClientConnection, "received", take)


def reports_lost_requests_as_not_received(patch: Patch) -> None:
    """When a connection breaks, a client says of its requests that they had no effect. So they are sent again."""
    ended = ClientConnection.ended

    def end(connection: ClientConnection, error: TransportError | None) -> None:
        for waiting in connection._waiting.values():
            if not waiting.response.done():
                waiting.response.set_exception(RequestNotReceived("the connection was lost"))
        ended(connection, error)

    patch.setattr(ClientConnection, "ended", end)


def repeats_writes_of_unknown_outcome(patch: Patch) -> None:
    """The client library sends a write again although it may have taken effect."""

    # Any: passes the arguments on.
    async def perform(*arguments: Any, **options: Any) -> object:
        try:
            return await try_perform(*arguments, **options)
        except OutcomeUnknown as error:
            raise DeadlineExceeded(str(error)) from None

    for module in (attempts, method_base):
        patch.setattr(module, "try_perform", perform)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 21))
def test_chaos_passes(seed: int) -> None:
    result = run_scenario(CHAOS, seed)
    assert result.ok, failures(result)


@pytest.mark.long
@pytest.mark.parametrize(
    "plant", [matches_answers_by_their_order, reports_lost_requests_as_not_received]
)
def test_chaos_finds_a_bug_in_connections(
    plant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    plant(monkeypatch)
    assert any(not run_scenario(CHAOS, seed).ok for seed in range(1, 7))


@pytest.mark.long
def test_chaos_finds_a_bug_in_the_client_library(monkeypatch: Patch) -> None:
    seeds = range(1, 7)
    assert all(run_scenario(CHAOS, seed, program=registers).ok for seed in seeds)
    repeats_writes_of_unknown_outcome(monkeypatch)
    assert any(not run_scenario(CHAOS, seed, program=registers).ok for seed in seeds)


@pytest.mark.long
def test_a_swarm_finds_a_bug_in_the_client_library(monkeypatch: Patch) -> None:
    whole = Scenario().with_(fidelity="node")
    scenarios = [(random_scenario(whole, seed), seed) for seed in range(1, 60)]
    used = [(scenario, seed) for scenario, seed in scenarios if scenario.workload.program][:10]
    assert all(run_scenario(scenario, seed).ok for scenario, seed in used)
    repeats_writes_of_unknown_outcome(monkeypatch)
    assert any(run_scenario(scenario, seed).violations for scenario, seed in used)
