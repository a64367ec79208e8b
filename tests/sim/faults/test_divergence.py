"""In a simulation, a node whose memory flips a bit contains itself, also after a restart, and does not lead."""

from __future__ import annotations

import io
import json
from itertools import count
from random import Random
from typing import Literal

from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine
from qcore.sim import run_scenario
from tests.sim.support.scenario_texts import scenario


def machine_with_a_flipped_bit() -> type[RegisterMachine]:
    """The first machine that applies entry 12 does so in another way: a memory error at one node."""
    numbers = count()

    class Flipped(RegisterMachine):
        def apply(self, command: str, context: ApplyContext) -> str:
            flips = context.index == 12 and next(numbers) == 0
            return super().apply(command.replace("visits", "visitr") if flips else command, context)

    return Flipped


def set_visits(rng: Random) -> tuple[Literal["write", "read"], str]:
    return "write", json.dumps({"op": "set", "key": "visits", "value": rng.randrange(100)})


def reports(text: str) -> list[tuple[int, bool]]:
    """Who sent digests, and whether it called itself diverged."""
    lines = [json.loads(line) for line in text.splitlines() if "StateDigests" in line]
    sent = [line for line in lines if "note" in line]
    return [(line["node"], "diverged" in line["note"]) for line in sent]


def test_a_flipped_bit_makes_one_node_contain_itself() -> None:
    trace = io.StringIO()
    spec = scenario(
        cluster="{nodes: 3, digest_interval_ms: 100, check_determinism: false}",
        until_ms=3000,
        timeline="[{at_ms: 2000, crash: leader, for_ms: 200}, {at_ms: 2400, crash: follower_1, for_ms: 200}]",
    )
    result = run_scenario(
        spec, 2, trace=trace, machine=machine_with_a_flipped_bit(), requests=set_visits
    )
    assert not result.ok, "the invariant sees the flip, too"
    found = reports(trace.getvalue())
    (odd,) = {node for node, diverged in found if diverged}
    of_odd = [diverged for node, diverged in found if node == odd]
    assert of_odd == sorted(of_odd), "it stays diverged, also in its next life"
