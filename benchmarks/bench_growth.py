"""The cost of each operation of the state machines as the state grows, in one process, without nodes.

A cost that grows with the number of entities or registers reveals an unbounded structure. Times are CPU
times of one operation: the median of many, or for a longest step the maximum.

    python -m benchmarks.bench_growth [--sizes 1000 10000 100000 1000000] [--machines entity register]

The garbage collector is off and existing objects are frozen, as in a node (`qcore.node.runtime.garbage_collection`).
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from qcore.machines.entity.entity_store import EntityStore
from qcore.machines.interface import ApplyContext
from qcore.machines.register import RegisterMachine

Json: TypeAlias = dict[str, Any]
#: By operation: a time in seconds, or a number of bytes if the name begins with "bytes".
Figures: TypeAlias = dict[str, float]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
#: How often an operation is measured.
ROUNDS = 201
_STEP = " (longest step)"
#: A result that succeeded contains one of these.
_SUCCEEDED = ('"error":null', '"ok":true', '"response":{"Ok":')


class MachineRunner:
    """Applies commands to a state machine one after the other."""

    def __init__(self, machine: EntityStore | RegisterMachine) -> None:
        self.machine = machine
        self._index = 0

    def apply(self, command: str) -> str:
        """Apply the next command."""
        self._index += 1
        return self.machine.apply(command, ApplyContext(self._index, 1000 * self._index))

    def command(self, request: Json) -> Callable[[], str]:
        """A function that applies the request, which is encoded now."""
        text = json.dumps(request)
        return lambda: self.apply(text)

    def query(self, request: Json) -> Callable[[], str]:
        """A function that queries, with the request encoded now."""
        text = json.dumps(request)
        return lambda: self.machine.query(text)


def median_of(operations: Iterator[Callable[[], str]], rounds: int = ROUNDS) -> float:
    """The median time in seconds. Each operation must succeed."""
    times = []
    for _, operation in zip(range(rounds), operations, strict=False):
        began = time.thread_time()
        result = operation()
        times.append(time.thread_time() - began)
        assert any(sign in result for sign in _SUCCEEDED), result[-300:]
    return statistics.median(times)


def repeated(operation: Callable[[], str]) -> Iterator[Callable[[], str]]:
    """The same operation over and over."""
    while True:
        yield operation


def hash_after(runner: MachineRunner, changes: Iterator[Callable[[], str]]) -> float:
    """The median time of a state hash, after one change each."""
    runner.machine.state_hash()
    times = []
    for _, change in zip(range(ROUNDS), changes, strict=False):
        change()
        began = time.thread_time()
        runner.machine.state_hash()
        times.append(time.thread_time() - began)
    return statistics.median(times)


def snapshot_figures(
    machine: EntityStore | RegisterMachine, empty: EntityStore | RegisterMachine
) -> Figures:
    """Measure a snapshot chunk by chunk, and its restore in parts into another machine."""
    began = time.thread_time()
    snapshot = machine.snapshot()
    figures = {"`snapshot()`": time.thread_time() - began}
    chunks: list[str] = []
    longest, total = 0.0, 0.0
    iterator = iter(snapshot)
    while True:
        began = time.thread_time()
        chunk = next(iterator, None)
        took = time.thread_time() - began
        longest, total = max(longest, took), total + took
        if chunk is None:
            break
        chunks.append(chunk)
    figures["a chunk of it (mean)"] = total / max(1, len(chunks))
    figures[f"a chunk of it{_STEP}"] = longest
    longest, steps = 0.0, empty.restore_gradually(chunks)
    gc.freeze()
    while True:
        began = time.thread_time()
        done = next(steps, steps) is steps
        longest = max(longest, time.thread_time() - began)
        if done:
            break
    figures[f"`restore_gradually`{_STEP}"] = longest
    assert empty.state_hash() == machine.state_hash(), "the restored state differs"
    return figures


def resident_bytes() -> int:
    """The resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- the entity store -------------------------------------------------------------------------------


def field(kind: str, name: str, default: object) -> Json:
    """The schema of a field."""
    rest = {"rank": 0, "read_permission": None, "write_permission": None}
    return {name: {kind: {"field_type": name, "default_value": default, **rest}}}


def schema(entity_type: str, inherit: str | None, *fields: Json) -> Json:
    """A `SetSchema` request."""
    merged = {name: body for one in fields for name, body in one.items()}
    return {
        "SetSchema": {
            "entity_schema": {"entity_type": entity_type, "inherit": inherit, "fields": merged}
        }
    }


def update(kind: str, entity: Json, path: str, value: object) -> Json:
    """An `UpdateEntity` request with one read or write."""
    body: Json = {"entity_id": entity, "field_type": path, "value": value}
    if kind == "Write":
        body |= {"push_condition": "Always", "adjust_behavior": "Set"}
    return {"UpdateEntity": {"request": [{kind: {**body, "write_time": None, "writer_id": None}}]}}


def entity_figures(size: int) -> Figures:
    """Measure the entity store. All entities are children of one parent."""
    gc.disable()
    gc.freeze()
    runner = MachineRunner(EntityStore())
    name, parent = field("String", "Name", ""), field("EntityReference", "Parent", None)
    children = field("EntityList", "Children", [])

    def base(count: int) -> Json:
        return schema("Base", None, name, parent, children, field("Int", "Count", count))

    runner.command(base(0))()
    runner.command(schema("Item", "Base", field("Float", "Reading", 0.0)))()

    def create(parent_id: Json | None, number: int) -> Json:
        return {
            "CreateEntity": {
                "entity_type": "Item",
                "parent_id": parent_id,
                "name": f"item {number}",
            }
        }

    top = {"CreateEntity": {"entity_type": "Item", "parent_id": None, "name": "root"}}
    root: Json = json.loads(runner.command(top)())["CreateEntity"]["response"]
    before = resident_bytes()
    for number in range(size):
        runner.command(create(root, number))()
        if number % 1000 == 0:
            runner.machine.state_hash()
    runner.machine.state_hash()
    figures: Figures = {"bytes an entity": (resident_bytes() - before) / size}
    gc.freeze()
    figures["create under one parent"] = median_of(
        runner.command(create(root, n)) for n in range(ROUNDS)
    )
    places = [size * n // ROUNDS for n in range(ROUNDS)]
    page = min(100, size // 2)

    def reads(path: str) -> Iterator[Callable[[], str]]:
        return (runner.query(update("Read", root, path.format(n, n + page), None)) for n in places)

    figures["read `Children->n->Name`"] = median_of(reads("Children->{0}->Name"))
    figures["read `Children->n:n+100`"] = median_of(reads("Children->{0}:{1}"))
    figures["read a path of 8 segments"] = median_of(
        reads("Children->{0}->Parent->Children->5->Parent->Name")
    )
    item = json.loads(
        runner.query(update("Read", root, f"Children->{size // 2}:{size // 2 + 1}", None))()
    )
    (one,) = item["UpdateEntity"]["response"][0]["Read"]["value"]["EntityList"]
    figures |= find_figures(runner, root, size)
    writes = [
        runner.command(update("Write", one, "Reading", {"Float": n / 8})) for n in range(ROUNDS)
    ]
    figures["read a field"] = median_of(
        repeated(runner.query(update("Read", one, "Reading", None)))
    )
    figures["write a field"] = median_of(iter(writes))
    figures["hash after a write"] = hash_after(runner, iter(writes))
    figures["hash after a create"] = hash_after(
        runner, (runner.command(create(root, n)) for n in range(ROUNDS))
    )
    figures["`SetSchema` of a new type"] = median_of(
        runner.command(schema(f"T{n}", "Base")) for n in range(ROUNDS)
    )
    figures["`SetSchema` of the base of all"] = median_of(
        (runner.command(base(n)) for n in range(1, 22)), rounds=21
    )
    figures["delete a child"] = median_of(
        runner.command(
            {"DeleteEntity": {"entity_id": {"typ": "Item", "id": one["id"] + n - ROUNDS // 2}}}
        )
        for n in range(ROUNDS)
    )
    figures |= snapshot_figures(runner.machine, EntityStore())
    figures["write an empty list of all children"] = median_of(
        iter([runner.command(update("Write", root, "Children", {"EntityList": []}))])
    )
    return figures


def find_figures(runner: MachineRunner, root: Json, size: int) -> Figures:
    """Measure pages of 100 entities, at three places of a walk, and the look-up by path."""
    figures: Figures = {}
    for place, number in (("first", 0), ("middle", size // 2), ("last", size - 100)):
        options: Json = {"limit": 100, "cursor": f"Item${root['id'] + number}" if number else None}
        body = {"entity_type": "Base", "page_opts": options}
        figures[f"`StoreFindEntities`, {place} page"] = median_of(
            repeated(runner.query({"StoreFindEntities": body}))
        )
        options = {"limit": 100, "cursor": str(number) if number else None}
        body = {"entity_id": root, "page_opts": options}
        figures[f"`StoreGetChildren`, {place} page"] = median_of(
            repeated(runner.query({"StoreGetChildren": body}))
        )
    figures["`StoreFindByPath` of a child"] = median_of(
        # The first names occur twice: later figures create them again.
        runner.query({"StoreFindByPath": {"path": ["root", f"item {n}"]}})
        for n in range(size - ROUNDS, size)
    )
    return figures


# --- registers --------------------------------------------------------------------------------------


def kv_figures(size: int) -> Figures:
    """Measure registers with small values."""
    gc.disable()
    gc.freeze()
    runner = MachineRunner(RegisterMachine())

    def operation(op: str, number: int, **fields: object) -> Json:
        return {"op": op, "key": f"key {number}", **fields}

    before = resident_bytes()
    for number in range(size):
        runner.command(operation("set", number, value=f"value {number}"))()
        if number % 1000 == 0:
            runner.machine.state_hash()
    runner.machine.state_hash()
    figures: Figures = {"bytes a register": (resident_bytes() - before) / size}
    gc.freeze()
    places = [size * n // ROUNDS for n in range(ROUNDS)]

    def sets() -> Iterator[Callable[[], str]]:
        return (runner.command(operation("set", n, value="x")) for n in places)

    new = range(size, size + ROUNDS)
    figures["set a new register"] = median_of(
        runner.command(operation("set", n, value=1)) for n in new
    )
    figures["set"] = median_of(sets())
    figures["get"] = median_of(runner.query(operation("get", n)) for n in places)
    figures["add"] = median_of(runner.command(operation("add", n, amount=1)) for n in new)
    figures["cas"] = median_of(runner.command(operation("cas", n, old="x", new=2)) for n in places)
    figures["hash after a set"] = hash_after(runner, sets())
    figures["delete"] = median_of(runner.command(operation("delete", n)) for n in new)
    return figures | snapshot_figures(runner.machine, RegisterMachine())


MACHINES: dict[str, Callable[[int], Figures]] = {"entity": entity_figures, "register": kv_figures}


def in_new_process(function: Callable[[int], Figures], size: int) -> Figures:
    """Measure in a new process, so with a fresh heap."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, size).result()


def shown(name: str, value: float) -> str:
    """A figure as text: bytes, microseconds or milliseconds."""
    if name.startswith("bytes"):
        return f"{value:,.0f}"
    micros = 1e6 * value
    return f"{micros:,.0f} µs" if micros < 10_000 else f"{micros / 1000:,.0f} ms"


def main() -> None:
    """Print one table for each machine."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--machines", nargs="+", choices=MACHINES, default=list(MACHINES))
    options = parser.parse_args()
    for machine in options.machines:
        columns = [in_new_process(MACHINES[machine], size) for size in options.sizes]
        print(f"| {machine} | " + " | ".join(f"{size:,}" for size in options.sizes) + " |")
        print("|---|" + "---|" * len(columns))
        for name in columns[0]:
            print(f"| {name} | " + " | ".join(shown(name, one[name]) for one in columns) + " |")
        print(flush=True)


if __name__ == "__main__":
    main()
