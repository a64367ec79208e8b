"""What the exploration rests on: copies of cores, fingerprints, and names of symmetric states."""

from __future__ import annotations

import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.sim.exploration import Bounds
from qcore.sim.exploration.small.choices import Choice
from qcore.sim.exploration.small.core_copy import copy_core
from qcore.sim.exploration.small.fingerprints import message_fields, of_server, renamed
from qcore.sim.exploration.small.global_history import Broken
from qcore.sim.exploration.small.local_node import LocalNode
from qcore.sim.exploration.small.node_symmetry import NodeSymmetry
from qcore.sim.exploration.small.small_cluster import SmallCluster, State

pytestmark = pytest.mark.pure_only("the explorer copies cores")

BOUNDS = Bounds(
    timeouts=4,
    crashes=2,
    writes=2,
    reads=1,
    heartbeats=2,
    duplicates=1,
    transfers=1,
    snapshots=1,
    sync="free",
)


def walk(cluster: SmallCluster, seed: int, length: int = 40) -> list[tuple[State, Choice]]:
    """The states of one random run, each with the choice made in it."""
    rng, state, found = random.Random(seed), cluster.initial, list[tuple[State, Choice]]()
    for _ in range(length):
        choices = cluster.choices(state)
        if not choices:
            break
        number = rng.choice(choices)
        found.append((state, cluster.steps.choices[number]))
        after = cluster.take(state, number)
        assert not isinstance(after, Broken), after
        state = after
    return found


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_a_step_never_changes_the_state_before_it(seed: int) -> None:
    cluster = SmallCluster(BOUNDS)
    walk(cluster, seed)
    for number, node in enumerate(cluster.steps.states):
        assert node.fingerprint() == cluster.steps.fingerprints[number]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_a_copied_core_equals_a_pickled_one(seed: int) -> None:
    cluster = SmallCluster(BOUNDS)
    for state, _ in walk(cluster, seed)[-3:]:
        for local in state[: cluster.size]:
            core = cluster.steps.states[local].core
            copied = copy_core(core)._server.__dict__
            original = core._server.__dict__
            assert list(copied) == list(original)
            pickled = pickle.loads(pickle.dumps(core))._server
            assert of_server(copy_core(core)._server) == of_server(pickled)
            shared = [
                name
                for name, value in original.items()
                if isinstance(value, list | dict) and copied[name] is value
            ]
            assert shared == []


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.permutations([1, 2, 3]))
def test_renamed_nodes_take_renamed_steps(seed: int, order: list[int]) -> None:
    """A run with other node ids reaches states that are equal up to the ids, and get the same name."""
    names = dict(zip((1, 2, 3), order, strict=True))
    cluster = SmallCluster(BOUNDS)
    symmetry = NodeSymmetry(cluster)
    twin = cluster.initial
    for state, choice in walk(cluster, seed):
        assert symmetry.name(state) == symmetry.name(twin)
        for place in range(cluster.size):
            mine = cluster.steps.fingerprints[state[place]]
            its = cluster.steps.fingerprints[twin[names[place + 1] - 1]]
            assert renamed(mine, names) == its
        after = cluster.apply(twin, _renamed_choice(cluster, choice, names))
        assert not isinstance(after, Broken)
        twin = after


def _renamed_choice(cluster: SmallCluster, choice: Choice, names: dict[int, int]) -> Choice:
    kind, node, argument = choice
    if kind in ("deliver", "duplicate", "drop"):
        wanted = renamed(cluster.steps.message_fingerprints[argument], names)
        argument = cluster.steps.message_fingerprints.index(wanted)
    elif kind == "transfer":
        argument = names[argument]
    return Choice(kind, names[node], argument)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_equal_fingerprints_have_equal_futures(seed: int) -> None:
    """A node that reached its state by another path does the same from there on."""
    one, other = SmallCluster(BOUNDS), SmallCluster(BOUNDS)
    walk(one, seed)
    walk(other, seed + 1)
    twins = {fingerprint: number for number, fingerprint in enumerate(other.steps.fingerprints)}
    for number, fingerprint in enumerate(one.steps.fingerprints):
        twin = twins.get(fingerprint)
        if twin is None:
            continue
        for choice in one.steps.offers(number):
            if one.steps.choices[choice].kind == "crash":
                continue
            mine, its = (
                _after(cluster.steps.states[local], one.steps.choices[choice])
                for cluster, local in ((one, number), (other, twin))
            )
            assert mine == its


def _after(node: LocalNode, choice: Choice) -> object:
    after, report = node.sync("free") if choice.kind == "sync" else node.heartbeat("free")
    sent = [
        (to, type(message).__name__, [getattr(message, name) for name in message_fields(message)])
        for to, message in report.sent
    ]
    return after.fingerprint(), sent, report.led
