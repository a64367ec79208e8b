"""`World`: a run that is stepped through gives the same trace, can be looked into, and can be disturbed."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.errors import ConfigError
from qcore.sim import World, parse_scenario, run_scenario

SHORT = parse_scenario(
    "{name: short, cluster: {nodes: 3}, until_ms: 2500, workload: {rate_per_s: 30},"
    " timeline: [{at_ms: 700, crash: leader, for_ms: 400}]}"
)
WHOLE = run_scenario(SHORT, 3)
MOVES = st.one_of(
    st.integers(1, 200).map(lambda events: ("step", events)),
    st.floats(1, 900).map(lambda ms: ("time", ms)),
    st.integers(1, 3).map(lambda node: ("until", node)),
)


def leads(node: int, world: World) -> bool:
    return world.leader == node


@settings(max_examples=15, deadline=None)
@given(moves=st.lists(MOVES, max_size=8))
def test_a_run_is_the_same_in_whatever_steps(moves: list[tuple[str, int | float]]) -> None:
    world = World(SHORT, 3)
    for kind, amount in moves:
        if kind == "step":
            for _ in range(int(amount)):
                world.step()
        elif kind == "time":
            world.run_until(world.now_ms + amount)
        else:
            world.run_until(partial(leads, int(amount)), limit_ms=2000)
    while world.step():
        pass
    assert world.is_over
    assert world.result() == WHOLE


def test_run_until_stops_at_the_first_event_that_counts() -> None:
    world = World(SHORT, 3)
    assert world.run_until(lambda world: world.leader is not None)
    led_at = world.now_ms
    leader = world.leader
    assert leader is not None
    assert (world.node(leader).role, world.node(leader).leader) == ("leader", leader)
    assert not world.run_until(lambda world: world.node(leader).term > 99, limit_ms=led_at + 50)
    assert world.now_ms == led_at + 50
    assert world.run_until(701)
    assert (world.node(leader).up, world.node(leader).role) == (False, None)
    assert world.node(leader).log_length > 2
    assert not world.run_until(9000)
    assert world.now_ms == 2500
    assert not world.step()


def test_a_user_can_disturb_a_run_between_events() -> None:
    world = World("steady_state", 7)
    world.run_until(1000)
    world.do(partition=[["leader"], ["rest"]], label="cut")
    old = world.leader
    world.run_until(lambda world: world.leader not in (None, old))
    world.do({"heal": "cut"})
    world.run()
    result = world.result()
    assert [expectation.name for expectation in result.failed()] == [
        "same_leader",
        "no_election_after_first",
    ]
    faults = result.metrics["faults"]
    assert isinstance(faults, dict)
    assert faults["do[0] cut"]
    assert result.replay.endswith("# without 2 calls of world.do")


def test_an_action_that_waits_for_its_event_fires_later() -> None:
    world = World(SHORT, 3)
    world.do(when={"event": "role", "role": "leader"}, pause="leader", for_ms=200)
    world.run_until(lambda world: world.leader is not None)
    world.run_until(world.now_ms + 1)
    assert [world.node(node).role for node in world.nodes if world.node(node).paused] == ["leader"]


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"crsh": 1}, "do: crsh: unknown key; did you mean crash"),
        ({"crash": 9}, "do: node 9 is not in the cluster"),
        ({"heal": "x"}, "do: heal: no item has the label 'x'"),
        ({"join": 8}, r"do: join: \[8\] are not in this run"),
        ({}, "do: the item has no action"),
        ({"crash": 1, "at_ms": 5}, "do: at_ms: `do` acts now, and once; leave at_ms out"),
        ({"crash": 1, "every_ms": 5}, "do: every_ms: `do` acts now, and once"),
    ],
)
def test_a_wrong_action_is_refused(keys: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        World("steady_state").do(keys)


def test_wrong_uses_of_a_world_are_explained() -> None:
    world = World(SHORT, 3)
    assert repr(world) == "World('short', seed 3, at 0 of 2500 ms)"
    with pytest.raises(ConfigError, match="its verdict needs the end"):
        world.result()
    with pytest.raises(ConfigError, match="node 7 is not in this run"):
        world.node(7)
    world.run_until(500)
    with pytest.raises(ConfigError, match="time does not go back"):
        world.run_until(400)
    with pytest.raises(ConfigError, match="'soon' is no time"):
        world.run_until("soon")  # type: ignore[arg-type]  # the error of a wrong type is tested
    world.run()
    with pytest.raises(ConfigError, match="the run is over"):
        world.do(crash=1)
