"""The load of qcore's own client library: a process that keeps requests in flight with `ClientConnection`.

It costs more processor time than a light load, which it shares with the nodes. So it shows what a program that uses the
library sees, and not what the nodes can do.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks.cluster.light_load import decode, summarise
from benchmarks.cluster.processor_time import processor_seconds
from benchmarks.cluster.wire import Load, LoadError, Measured
from qcore.client.client import Client
from qcore.client.request_sender import Json
from qcore.processes import ProcessCluster
from qcore.transport.address import Address
from qcore.transport.connection.client_connection import ClientConnection

#: The value of the published figures: 60 bytes.
VALUE = "v" * 60
#: How many connections share the requests in flight, if the protocol lets several requests share one.
CONNECTIONS = 8


@dataclass(slots=True, frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: the system, and the node that got the requests.
        concurrency: requests in flight.
        per_s: acknowledged writes per second.
        p50_ms, p99_ms: latency as seen by the client.
        errors: requests that did not succeed.
    """

    what: str
    concurrency: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def row_of(what: str, concurrency: int, seconds: float, latencies: list[float], errors: int) -> Row:
    """A row from the latencies of the requests that succeeded, in seconds."""
    ordered = sorted(latencies)
    return Row(
        what,
        concurrency,
        len(ordered) / seconds,
        1000 * statistics.median(ordered),
        1000 * ordered[int(len(ordered) * 0.99)],
        errors,
    )


async def prepare(cluster: ProcessCluster) -> dict[str, object]:
    """Initialise the cluster and create the entity that the writes set."""
    schema = {
        "entity_type": "Item",
        "inherit": None,
        "fields": {
            "Text": {
                "String": {
                    "field_type": "Text",
                    "default_value": "",
                    "rank": 0,
                    "read_permission": None,
                    "write_permission": None,
                }
            }
        },
    }
    async with Client(cluster.endpoints) as client:
        await client.init(cluster.members)
        await client.set_schema(schema)
        return (await client.create_entity("Item", "item")).entity_id._asdict()


async def generate(load: Load) -> Measured:
    """Keep the requests in flight for this time."""
    connections = [
        await ClientConnection.connect(Address.parse(load.endpoint))
        for _ in range(load.connections)
    ]
    item: dict[str, Json] = {
        "entity_id": json.loads(load.target),
        "field_type": "Text",
        "value": None,
        "write_time": None,
        "writer_id": None,
    }
    value: Json = {"String": load.value}
    if load.operation == "write":
        item |= {"value": value, "push_condition": "Always", "adjust_behavior": "Set"}
    kind = load.operation.capitalize()
    fields: Json = {"request": {"UpdateEntity": {"request": [{kind: item}]}}}
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + load.warm_up
    end = begin + load.seconds
    before: list[tuple[tuple[float, ...], float]] = []

    async def worker(position: int) -> None:
        nonlocal errors
        connection = connections[position % load.connections]
        while (sent := time.perf_counter()) < end:
            if sent >= begin and not before:
                before.append((processor_seconds(load.processes), time.process_time()))
            reply: Json = await connection.request("Perform", fields)
            done = time.perf_counter()
            if done < begin or done > end:
                continue
            answer = reply["response"]["UpdateEntity"]
            if answer["error"] is None and answer["response"][0][kind]["value"] == value:
                latencies.append(done - sent)
            else:
                errors += 1

    await asyncio.gather(*(worker(position) for position in range(load.in_flight)))
    ((nodes, own),) = before
    client = time.process_time() - own
    after = processor_seconds(load.processes)
    for connection in connections:
        await connection.close()
    if not latencies:
        raise LoadError(f"no request succeeded, and {errors} failed")
    used = [last - first for last, first in zip(after, nodes, strict=True)]
    return summarise(latencies, errors, load.seconds, client, used)


def main() -> None:
    """Generate the load of the JSON text on stdin."""
    print(json.dumps(asdict(asyncio.run(generate(decode(sys.stdin.read()))))))


if __name__ == "__main__":
    main()
