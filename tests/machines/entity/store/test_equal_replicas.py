"""Two stores in two processes with different hash seeds agree to the byte, and so does one that restores midway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from tests.machines.entity.harness import EPOCH_US, FOLDER, OBJECT, USER, field, schema

#: Reads a log as a line of JSON, and writes what the store did with it as a line of JSON.
WORKER = """
import json, sys
from tests.machines.entity.store.test_equal_replicas import replay
for line in sys.stdin:
    log, raised = json.loads(line)
    print(json.dumps(replay(log, raised, None)), flush=True)
"""


def replay(log: list[str], raised: int, restored_at: int | None) -> list[Any]:
    """Apply a log. Returns each result with the bodies of its changes, then digest, snapshot and answers to queries.

    Args:
        log: the commands.
        raised: rules 3 become rules 4 at this position.
        restored_at: at this position, go on with a store that restores the snapshot of the one before.
    """
    store = EntityStore()
    seen: list[Any] = []
    for position, command in enumerate(log, start=1):
        if position == restored_at:
            store, before = EntityStore(), store
            store.restore(before.snapshot())
        rules = 4 if position >= raised else 3
        result = store.apply(command, ApplyContext(position, EPOCH_US + position, rules=rules))
        seen.append([result, [change.body for change in store.last_changes()]])
    seen += [store.state_hash(), "".join(store.snapshot())]
    for query in QUERIES:
        seen.append(store.query(json.dumps(query)))
    return seen


@pytest.fixture(scope="module")
def workers() -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for seed in ("1", "2")
    ]
    yield started
    for worker in started:
        worker.communicate(timeout=20)


def ask(worker: subprocess.Popen[str], line: str) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    return worker.stdout.readline()


START = [{"StoreSetEntitySchema": {"schema": one}} for one in (OBJECT, FOLDER, USER)]
OLD_START = [{"SetSchema": {"entity_schema": one}} for one in (OBJECT, FOLDER, USER)]
PAGE = {"limit": 3, "cursor": None}
QUERIES: list[dict[str, Any]] = [
    {"StoreFindEntities": {"entity_type": "Object", "page_opts": None}},
    {"StoreFindEntities": {"entity_type": "User", "page_opts": None, "filter": "Age > 18"}},
    {"StoreGetEntityTypes": {"page_opts": PAGE}},
    {"StoreGetChildren": {"entity_id": None, "page_opts": PAGE}},
    {"StoreFindByPath": {"path": "a/b"}},
    {"StoreTakeSnapshot": {}},
]

NUMBERS = st.integers(4, 14)
IDS = st.builds(
    lambda typ, number: {"typ": typ, "id": number}, st.sampled_from(["Folder", "User"]), NUMBERS
)
NEW_IDS = IDS | st.integers(0, 4).map(lambda number: {"created": number})
NAMES = st.sampled_from(["a", "b", "é", "x" * 600])
VALUES = st.one_of(
    st.integers(-3, 3).map(lambda number: {"Int": number}),
    st.floats(allow_nan=False, allow_infinity=False, width=16).map(
        lambda number: {"Float": number}
    ),
    NAMES.map(lambda text: {"String": text}),
    st.lists(IDS, max_size=3).map(lambda ids: {"EntityList": ids}),
    st.none(),
)
FIELDS = st.sampled_from(["Age", "Email", "Score", "Friends", "Name", "Children", "Parent->Name"])


def writes(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "entity_id": ids,
            "field_type": FIELDS,
            "value": VALUES,
            "push_condition": st.sampled_from(["Always", "Changes"]),
            "adjust_behavior": st.sampled_from(["Set", "Add", "Subtract"]),
            "write_time": st.none(),
            "writer_id": st.none() | ids,
        }
    )


def requests(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The requests that a bulk command may hold."""
    creates = st.fixed_dictionaries(
        {
            "entity_type": st.sampled_from(["Folder", "User"]),
            "parent_id": st.none() | ids,
            "name": NAMES,
        }
    )
    renames = st.fixed_dictionaries({"entity_id": ids, "name": NAMES})
    moves = st.fixed_dictionaries({"entity_id": ids, "parent_id": st.none() | ids})
    return st.one_of(
        creates.map(lambda body: {"CreateEntity": body}),
        ids.map(lambda one: {"DeleteEntity": {"entity_id": one}}),
        renames.map(lambda body: {"RenameEntity": body}),
        moves.map(lambda body: {"MoveEntity": body}),
        writes(ids).map(lambda body: {"Write": body}),
    )


def as_store_request(request: dict[str, Any]) -> dict[str, Any]:
    ((name, body),) = request.items()
    return {"StorePerform": {"requests": [request]}} if name == "Write" else {f"Store{name}": body}


EXTRA = [field("Int", "Extra", 1), field("Int", "Extra", 2), field("String", "Extra", "x")]
SCHEMAS = st.sampled_from(
    [
        {"StoreSetEntitySchema": {"schema": schema("User", "Object", *more)}}
        for more in ([], [EXTRA[0]], [EXTRA[2], field("Int", "Age", 7)])
    ]
    + [
        {"StoreSetFieldSchema": {"entity_type": typ, "field_type": "Extra", "schema": one["Extra"]}}
        for typ in ("Object", "User")
        for one in EXTRA
    ]
)
COMMANDS = st.one_of(
    requests(IDS).map(as_store_request),
    st.lists(requests(NEW_IDS), max_size=5).map(lambda items: {"StoreBulk": {"requests": items}}),
    SCHEMAS,
)


@settings(max_examples=60)
@given(st.lists(COMMANDS, max_size=20), st.integers(1, 20), st.integers(1, 20))
def test_processes_and_restored_stores_agree(
    workers: list[subprocess.Popen[str]],
    commands: list[dict[str, Any]],
    raised: int,
    restored_at: int,
) -> None:
    log = [json.dumps(command) for command in [*OLD_START, *START, *commands]]
    line = json.dumps([log, raised])
    one, two = (ask(worker, line) for worker in workers)
    assert one == two
    here = replay(log, raised, None)
    assert json.loads(one) == here
    restored = replay(log, raised, restored_at)
    digest = len(log)
    assert restored[: digest + 1] == here[: digest + 1]
    assert restored[digest + 2 :] == here[digest + 2 :]
