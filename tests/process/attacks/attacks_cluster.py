"""Attacks on everything except the state machine: reads, sessions, snapshots, members.

They run with the entity store, which can return large values.
"""

from __future__ import annotations

import json

from qcore.processes import NodeProcess
from tests.process.attacks.amplification import Attack, AttackContext
from tests.process.attacks.attacker import Json
from tests.process.attacks.entity_requests import field, read, set_schema, update, write

_CONSISTENCIES: tuple[object, ...] = ("linearizable", "lease", "follower", {"stale": 60_000})


def _large_entity(context: AttackContext, text: str) -> Json:
    """Create an entity whose field `Text` holds this text."""
    context.perform(set_schema("Large", field("String", "Text", ""), field("Int", "Count", 0)))
    entity = context.create("Large")
    context.perform(update(write(entity, "Text", {"String": text})))
    return entity


def _frame(requests: list[Json], **options: object) -> str:
    """Many `Perform`s in one frame."""
    return json.dumps(
        [{"Perform": {"id": str(n), "request": one, **options}} for n, one in enumerate(requests)]
    )


def _flood(context: AttackContext, frame: str) -> None:
    """Send the frame for a while to the leader and a follower."""
    nodes: tuple[NodeProcess, ...] = (context.leader, context.follower)
    for node in nodes:
        context.flood([frame], node)


# --- reads ------------------------------------------------------------------------------------------


def large_reads_by_the_hundred(context: AttackContext) -> None:
    """One frame holds hundreds of reads, each with a result of several MB. The client reads no reply."""
    entity = _large_entity(context, "x" * 900_000)
    one = update(*[read(entity, "Text")] * 7)
    for consistency in _CONSISTENCIES:
        _flood(context, _frame([one] * context.scale(15, 400), consistency=consistency))


def large_reads_taken_by_the_client(context: AttackContext) -> None:
    """The same, but the client reads all responses."""
    entity = _large_entity(context, "\\" * 450_000)
    one = update(*[read(entity, "Text")] * context.scale(3, 7))
    for node in (context.leader, context.follower):
        for consistency in _CONSISTENCIES:
            context.perform(*[one] * context.scale(2, 60), node=node, consistency=consistency)


def large_writes_by_the_hundred(context: AttackContext) -> None:
    """Writes with results of several MB each, through the leader and a follower."""
    entity = _large_entity(context, "x" * 900_000)
    one = update(
        *[read(entity, "Text")] * context.scale(3, 7), write(entity, "Count", {"Int": 1}, "Add")
    )
    for node in (context.leader, context.follower):
        context.flood([_frame([one] * context.scale(10, 400))], node)
        context.perform(*[one] * context.scale(2, 60), node=node)


def large_commands_by_the_hundred(context: AttackContext) -> None:
    """Commands of nearly 1 MB, as fast as a node accepts them, through the leader and a follower."""
    entity = _large_entity(context, "")
    for text in ("x" * 950_000, "\0" * 150_000, "\U0001d518" * 75_000):
        frame = _frame([update(write(entity, "Text", {"String": text}))])
        _flood(context, frame)


def errors_that_repeat_what_was_sent(context: AttackContext) -> None:
    """Hundreds of rejected requests whose errors quote the request, or a part of it."""
    entity = {"typ": "Unknown", "id": 2**64 - 1}
    one = update(write(entity, "\\" * 200, {"String": "\0" * 30_000}))
    _flood(context, _frame([one] * 4))
    _flood(context, json.dumps([{"x" * 200: {"id": "\\" * 1000}}] * 1000))
    _flood(context, _frame([{"Nonsense": "\0" * 1000}] * 100))


# --- sessions ---------------------------------------------------------------------------------------


def sessions_with_responses_that_grow(context: AttackContext) -> None:
    """Many sessions keep responses of astral characters, each of which an escape may turn into 12 bytes."""
    entity = _large_entity(context, "\U0001d518" * 200_000)
    one = update(*[read(entity, "Text")] * 7, write(entity, "Count", {"Int": 1}, "Add"))
    for _ in range(context.scale(2, 40)):
        session = (context.ask("OpenSession", lifetime_ms=3_600_000) or {}).get("Ok")
        if session is None:
            continue
        with context.connect() as attacker:
            for sequence in range(1, context.scale(3, 8)):
                used = {"id": session, "sequence": sequence}
                context.count(attacker.requests([{"request": one, "session": used}], 40))
    context.ask("SaveSnapshot", timeout_ms=20_000)


def sessions_by_the_thousand(context: AttackContext) -> None:
    """More sessions than fit, each with a response; the largest valid numbers; repeated commands."""
    entity = _large_entity(context, "\0" * 10_000)
    one = update(read(entity, "Text"), write(entity, "Count", {"Int": 1}, "Add"))
    count = context.scale(100, 12_000)
    with context.connect() as attacker:
        for start in range(0, count, 100):
            opens = [
                {"OpenSession": {"id": str(n), "lifetime_ms": 2**62}}
                for n in range(start, start + 100)
            ]
            attacker.send(json.dumps(opens))
            attacker.run(len(opens), 40)
            bodies = [body for reply in attacker.replies for body in reply.values()]
            context.count(attacker.replies)
            sessions = [body["response"].get("Ok") for body in bodies if "response" in body]
            fields = [
                {"request": one, "session": {"id": session, "sequence": 2**62 - n}}
                for n, session in enumerate(sessions)
                if session is not None
            ]
            context.count(attacker.requests(fields, 40))
    session = (context.ask("OpenSession", lifetime_ms=60_000) or {}).get("Ok")
    if session is not None:
        for acknowledged in (0, 2**62, 2**63 - 1):
            used = {"id": session, "sequence": 2**62, "acknowledged": acknowledged}
            context.perform(*[one] * context.scale(50, 300), session=used)
        context.perform(*[one] * context.scale(50, 300), session={"id": 2**62, "sequence": 1})
    context.ask("SaveSnapshot", timeout_ms=20_000)


# --- snapshots and members --------------------------------------------------------------------------


def snapshots_by_the_hundred(context: AttackContext) -> None:
    """Concurrent `SaveSnapshot` and `ReadSnapshot` on all nodes. The client reads no reply."""
    for node in context.cluster.nodes.values():
        info = (context.ask("SaveSnapshot", node, timeout_ms=20_000, stale=True) or {}).get(
            "Ok"
        ) or {}
        index = info.get("last_included_index", 1)
        takes = [{"SaveSnapshot": {"id": str(n), "stale": n % 2 == 0}} for n in range(200)]
        reads = [
            {"ReadSnapshot": {"id": str(n), "last_included_index": index, "offset": offset}}
            for n in range(500)
            for offset in (0, n * 1000, 2**62)
        ]
        context.flood([json.dumps(takes), json.dumps(reads)], node)


def members_by_the_thousand(context: AttackContext) -> None:
    """`Init`, `AddLearner` and `ChangeMembership` with very many nodes and very long addresses."""
    address = "x" * 5_000 + ":1"
    many = [[n, address] for n in range(1, 200)]
    numbers = list(range(1, 100_000))
    wrong_index = 2**62
    for node in (context.leader, context.follower):
        context.ask("Init", node, nodes=many)
        context.ask("Init", node, nodes=[[n, "127.0.0.1:1"] for n in range(1, 50_000)])
        context.ask("ChangeMembership", node, members=numbers, expected_index=wrong_index)
        context.ask("ChangeMembership", node, members=numbers)
        context.ask("ChangeMembership", node, members=[1, 2, 3], learners=numbers)
        context.ask("AddLearner", node, node_id=9, node_addr="x" * 900_000 + ":1", timeout_ms=500)
        learners = [
            {"ChangeMembership": {"id": str(n), "members": numbers[:1000], "timeout_ms": 2**62}}
            for n in range(100)
        ]
        context.flood([json.dumps(learners)], node)
    context.ask("ChangeMembership", members=[1, 2, 3], learners=[])


def metrics_by_the_thousand(context: AttackContext) -> None:
    """`GetMetrics`, which every node answers without the leader, 4,096 times in a frame."""
    frame = json.dumps([{"GetMetrics": {"id": "\\" * 300}}] * context.scale(500, 4096))
    for node in context.cluster.nodes.values():
        context.flood([frame], node)


ATTACKS: tuple[Attack, ...] = (
    large_reads_by_the_hundred,
    large_reads_taken_by_the_client,
    large_writes_by_the_hundred,
    large_commands_by_the_hundred,
    errors_that_repeat_what_was_sent,
    sessions_with_responses_that_grow,
    sessions_by_the_thousand,
    snapshots_by_the_hundred,
    members_by_the_thousand,
    metrics_by_the_thousand,
)
