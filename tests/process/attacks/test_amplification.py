"""One client cannot stop a node, depose a leader, or prevent a node from restarting.

Every attack hits three real nodes with limited address space (`amplification`). The short run has one
attack of each kind, of a small size. The long run has all, and the full sizes, which stopped version 0.1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from qcore.machines.entity.requests.perform_requests import PerformRequest
from qcore.node.application import EntityPerform, TextPerform
from tests.process.attacks import attacks_cluster, attacks_entities, attacks_fields, attacks_kv
from tests.process.attacks.amplification import (
    Attack,
    AttackContext,
    assert_no_failures,
    check_restart,
    limited_cluster,
    run_attacks,
)
from tests.process.attacks.entity_requests import create, field, read, set_schema, update, write
from tests.process.conftest import assert_no_traceback

pytestmark = pytest.mark.process


def write_entity(context: AttackContext) -> None:
    """Write as any client does, and read the value back from every node."""
    context.perform(set_schema("Normal", field("String", "Text", "")))
    (made,) = context.perform(create("Normal"))
    entity = made["CreateEntity"]["response"]
    (written,) = context.perform(update(write(entity, "Text", {"String": "still here"})))
    assert written["UpdateEntity"]["error"] is None, written
    for node in context.cluster.nodes.values():
        (seen,) = context.perform(update(read(entity, "Text")), node=node)
        assert seen["UpdateEntity"]["response"][0]["Read"]["value"] == {"String": "still here"}, (
            seen
        )


#: In this order: at full size, the attacks on entities leave no room for the type that those on the cluster need.
ENTITY_ATTACKS = (
    attacks_fields.every_field_of_every_message,
    *attacks_cluster.ATTACKS,
    *attacks_entities.ATTACKS,
)
#: One attack of each kind: by fields, state, output, values, depth, errors, sessions, snapshots, and many requests.
QUICK_ATTACKS = (
    attacks_fields.every_field_of_every_message,
    attacks_entities.creates_with_a_large_default,
    attacks_entities.many_children,
    attacks_entities.null_writes_of_a_large_default,
    attacks_entities.paths,
    attacks_entities.circles_of_children,
    attacks_cluster.errors_that_repeat_what_was_sent,
    attacks_cluster.sessions_with_responses_that_grow,
    attacks_cluster.snapshots_by_the_hundred,
    attacks_cluster.metrics_by_the_thousand,
)


def attack_entities(directory: Path, attacks: Sequence[Attack], *, full: bool) -> None:
    with limited_cluster(directory) as cluster:
        context = AttackContext(cluster, full=full)
        outcomes = run_attacks(context, attacks)
        check_restart(context, write_entity)
    assert_no_failures(outcomes)
    assert_no_traceback(cluster)


def attack_kv(directory: Path, *, full: bool) -> None:
    attacks = (attacks_fields.every_field_of_text_requests, *attacks_kv.ATTACKS)
    with limited_cluster(directory, "--machine", "register") as cluster:
        context = AttackContext(cluster, full=full)
        outcomes = run_attacks(context, attacks)
        check_restart(context, attacks_kv.write_register)
    assert_no_failures(outcomes)
    assert_no_traceback(cluster)


def test_every_field_of_every_message_is_attacked() -> None:
    for perform in (EntityPerform, TextPerform):
        paths = [path for path, _, _ in attacks_fields.places(perform)]
        for name, cls in attacks_fields.messages(perform).items():
            for one in fields(cls):
                assert f"{name}.{one.name}" in paths, f"no attack on {one.name} of {name}"
    entity_paths = [path for path, _, _ in attacks_fields.places(EntityPerform)]
    for name in get_args(PerformRequest)[0].__annotations__:
        assert f"Perform.request.{name}" in entity_paths, f"no attack on {name}"
    deepest = "Perform.request.UpdateEntity.request[0].Write.value.EntityList[0].typ"
    assert deepest in entity_paths


def test_entity_attacks_bring_down_no_node(tmp_path: Path) -> None:
    attack_entities(tmp_path, QUICK_ATTACKS, full=False)


@pytest.mark.long
def test_all_entity_attacks_bring_down_no_node(tmp_path: Path) -> None:
    attack_entities(tmp_path, ENTITY_ATTACKS, full=False)


@pytest.mark.long  # most attacks of the test above, on the smaller machine
def test_register_attacks_bring_down_no_node(tmp_path: Path) -> None:
    attack_kv(tmp_path, full=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_entity_attacks_at_full_size_bring_down_no_node(tmp_path: Path) -> None:
    attack_entities(tmp_path, ENTITY_ATTACKS, full=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_register_attacks_at_full_size_bring_down_no_node(tmp_path: Path) -> None:
    attack_kv(tmp_path, full=True)
