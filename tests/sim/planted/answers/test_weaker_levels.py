"""Weaker levels than linearizable: what they allow, and the planted faults that they catch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Literal

import pytest

from qcore.errors import ConfigError
from qcore.machines.interface import ApplyContext
from qcore.sim import RunResult, parse_scenario, run_scenario
from qcore.sim.oracles import Oracles, Request
from tests.sim.support.counter_store import CounterStore
from tests.sim.support.scenario_texts import failures, scenario, seen

STALE = "{clients: 3, rate_per_s: 150, read_kind: stale_read, read_fraction: 0.7, keys: 1}"


def registers(level: str, workload: str) -> RunResult:
    expect = f"{{consistency: {level}}}"
    return run_scenario(scenario("[]", expect, workload=workload, until_ms=2500), 1)


def test_stale_reads_break_the_order_of_a_client() -> None:
    """A client that reads at one node and then at one that lags sees a register go back in time."""
    moving = scenario(
        "[{at_ms: 1000, isolate: 3}, {at_ms: 1500, read: {node: 1, key: k0, read_kind: stale_read}},"
        " {at_ms: 1550, read: {node: 3, key: k0, read_kind: stale_read}}, {at_ms: 1600, heal: all}]",
        "{consistency: sequential, violation: sequential_consistency}",
        workload="{clients: 1, rate_per_s: 50, read_fraction: 0, max_staleness_ms: 5000, keys: 1}",
        until_ms=2500,
    )
    found = run_scenario(moving, 1)
    assert found.ok, failures(found)
    (violation,) = found.violations
    assert "the requests of each client come in the order in which it sent them" in violation.note


def test_stale_reads_are_serializable() -> None:
    result = registers("serializable", STALE)
    assert result.ok, failures(result)
    assert seen(result)["consistency"].endswith("the order of the log explains them")
    judged = result.metrics["linearizability"]
    assert isinstance(judged, dict)
    assert judged["level"] == "serializable"
    reads = result.metrics["reads_by_kind"]
    assert isinstance(reads, dict)
    assert reads["stale_read"]


class Oncall(CounterStore):
    """Two doctors, at least one of whom must be on call: `["off", name, seen]` is accepted if the client saw two."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = {"ann": 1, "bob": 1}

    def apply(self, command: str, context: ApplyContext) -> str:
        what, name = json.loads(command)
        if what == "on":
            self.numbers[name] = 1
            return "on"
        if sum(self.numbers.values()) < 2:
            return "denied"
        self.numbers[name] = 0
        return "off"

    def query(self, query: str) -> str:
        return "".join(str(self.numbers[name]) for name in ("ann", "bob"))


class WriteSkew(Oncall):
    """Checks the state as it was before the last two commands, like a transaction that read an old snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier = [2, 2]

    def apply(self, command: str, context: ApplyContext) -> str:
        what, name = json.loads(command)
        count = self.earlier[0]
        self.earlier = [self.earlier[1], sum(self.numbers.values())]
        if what == "off" and count == 2:
            self.numbers[name] = 0
            return "off"
        return super().apply(command, context)

    def snapshot(self) -> Iterable[str]:
        return [json.dumps([self.numbers, self.earlier])]

    def restore(self, chunks: Iterable[str]) -> None:
        self.numbers, self.earlier = json.loads("".join(chunks))


class OncallModel:
    def initial(self) -> tuple[int, int]:
        return 1, 1

    def step(
        self, state: tuple[int, int], request: Request, answer: str | None
    ) -> tuple[bool, tuple[int, int]]:
        if request.kind == "read":
            return answer in (None, "".join(map(str, state))), state
        what, name = json.loads(request.text)
        place = ("ann", "bob").index(name)
        if what == "off" and sum(state) < 2:
            return answer in (None, "denied"), state
        after = (int(what == "on"), state[1]) if place == 0 else (state[0], int(what == "on"))
        return answer in (None, what), after


def draw(rng: Random) -> tuple[Literal["write", "read"], str]:
    if rng.random() < 0.4:
        return "read", "all"
    return "write", json.dumps([rng.choice(("on", "off")), rng.choice(("ann", "bob"))])


@pytest.mark.parametrize("level", ["serializable", "sequential", "linearizable"])
def test_a_correct_machine_is_serializable_and_more(level: str) -> None:
    spec = scenario(expect=f"{{consistency: {level}}}", until_ms=1500)
    result = run_scenario(
        spec, 1, machine=Oncall, requests=draw, oracles=Oracles(model=OncallModel)
    )
    assert result.ok, failures(result)


def test_a_write_skew_is_not_serializable() -> None:
    """No order of the requests leaves both doctors off call; some client has read that both are."""
    spec = scenario(
        expect="{consistency: serializable, violation: [serializability]}",
        workload="{clients: 2, rate_per_s: 25, start_ms: 500}",
        until_ms=2500,
    )

    def only_off(rng: Random) -> tuple[Literal["write", "read"], str]:
        kind, text = draw(rng)
        return kind, text.replace("on", "off", 1) if '"on"' in text else text

    oracles = Oracles(model=OncallModel)
    result = run_scenario(spec, 1, machine=WriteSkew, requests=only_off, oracles=oracles)
    assert result.ok, failures(result)
    (note,) = [each.note for each in result.violations if each.check == "serializability"]
    assert "any order is allowed" in note
    assert """["off", "bob"]': answered 'off'""" in note
    result = run_scenario(spec, 1, machine=Oncall, requests=only_off, oracles=oracles)
    assert [each.name for each in result.failed()] == ["violation"]


@pytest.mark.parametrize("key", ["linearizable: true", "consistency: serializable"])
def test_a_level_needs_a_model_of_a_custom_machine(key: str) -> None:
    name = key.split(":")[0]
    with pytest.raises(ConfigError, match=rf"expect\.{name} is judged .* write a `class Model`"):
        run_scenario(scenario(expect=f"{{{key}}}"), 1, machine=Oncall, requests=draw)


def test_two_levels_in_one_scenario_are_rejected() -> None:
    with pytest.raises(ConfigError, match="ask for two levels; leave one out"):
        parse_scenario("expect: {linearizable: true, consistency: sequential}")
